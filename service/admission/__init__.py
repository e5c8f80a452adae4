"""How much is worked on at once, who waits for it, and who is sent away. Knows no HTTP."""
