"""Everything that touches Hypercorn: processes, connections, HTTP/1.1 and WebSocket."""
