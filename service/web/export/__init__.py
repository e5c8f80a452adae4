"""`/api/export`: all records, or those that match a filter, as one streamed file."""
