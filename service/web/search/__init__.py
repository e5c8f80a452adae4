"""The search endpoints: JSON, server-sent events and WebSocket."""
