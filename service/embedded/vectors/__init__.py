"""Dense and sparse vector search."""
