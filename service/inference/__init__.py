"""Models: rerankers now, embedders with the embedded engine."""
