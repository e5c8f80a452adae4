"""What is there for browsers: CORS, security headers, and the page of the documentation."""
