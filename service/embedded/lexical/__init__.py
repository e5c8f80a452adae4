"""Lexical search with tantivy."""
