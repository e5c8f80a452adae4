"""Loading records: files in, batches out."""
