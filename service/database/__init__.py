"""A database of the service's own tables: SQLite in `DATA_DIR`, or PostgreSQL."""
