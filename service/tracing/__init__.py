"""Distributed tracing: trace ids for the log, and spans over OpenTelemetry where it is set up."""
