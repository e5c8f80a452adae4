"""Pinecone's data plane over an embedded index: bodies in, bodies out, as they are on the wire."""
