"""The search endpoints, over JSON, server-sent events and WebSocket."""
