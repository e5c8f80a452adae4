"""Answers that are kept for a while. Knows bytes and keys; not what is searched, nor for whom."""
