"""Filters: their validation, and the documents that they select."""
