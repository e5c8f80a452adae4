"""What search means. No Quart, no client, no sockets in here."""
