"""Parsers of the file formats: bytes in, items out."""
