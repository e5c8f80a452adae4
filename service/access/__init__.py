"""API keys and access rules."""
