"""Pinecone's data plane over an embedded index: decoded requests in, response bodies out.

`routes.answer` takes a method, a path, parameters and a body. The service itself does not use this
wire form; it is for Pinecone's API over HTTP, and for `EmbeddedAsyncIndex`.
"""
