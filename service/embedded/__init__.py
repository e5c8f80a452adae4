"""The engine in the process."""
