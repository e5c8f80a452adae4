"""The records as what a load writes to: each batch is sent once, and what went wrong is told.

Whoever loads tries again by itself, and has to see a rate limit to heed it.
"""
