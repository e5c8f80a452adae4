"""Loading records: files in, batches out. Knows no web, no Pinecone, no engine."""
