"""How the table of imports came to be what it is, step by step. Alembic reads it as files."""
