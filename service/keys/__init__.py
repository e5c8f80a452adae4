"""API keys with rights: their store, and what may be created."""
