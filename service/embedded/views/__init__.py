"""Search structures that follow the change log."""
