"""Imports in the background: uploads kept on disk, worked off one by one. Knows no HTTP."""
