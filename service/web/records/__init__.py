"""`/api/records` and `/api/stats`: read, write and delete records."""
