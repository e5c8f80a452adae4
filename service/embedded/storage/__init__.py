"""Files on disk: the records and their change log in SQLite, and the checkpoints of views."""
