"""Writing, reading and deleting records, whatever is behind the indexes."""
