"""The documentation under test: every example runs, every reference exists."""
