"""Admission control: how many requests run at once, which of them queue, which are rejected."""
