"""The search cascade: legs, fusion, reranking and explanations."""
