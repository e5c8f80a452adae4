"""`/api/imports`: uploads, and the jobs that load them."""
