"""Imports in the background: uploads on disk, and a worker that loads them one by one."""
