"""The SQLite database of an index: its records and its change log."""
