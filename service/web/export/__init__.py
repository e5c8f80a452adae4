"""`/api/export`: a streamed export of records."""
