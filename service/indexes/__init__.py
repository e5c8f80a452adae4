"""The `Index` protocol, and its implementation over Pinecone."""
