"""`/api/records` and `/api/stats`."""
