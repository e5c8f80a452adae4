"""Spans of requests and of searches, where tracing is on."""
