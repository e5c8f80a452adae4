"""`/api/imports`: uploads, and the jobs that write their records."""
