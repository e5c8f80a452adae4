"""Quart's test client with our WebSocket."""

from __future__ import annotations

from quart.testing import QuartClient

from tests.web.websocket_client import WebsocketTestConnection

QuartClient.websocket_connection_class = WebsocketTestConnection
