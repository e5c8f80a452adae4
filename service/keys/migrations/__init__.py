"""How the tables of API keys came to be what they are, step by step. Alembic reads it as files."""
