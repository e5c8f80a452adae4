"""`/api/records`, `/api/stats` and `/api/namespaces`."""
