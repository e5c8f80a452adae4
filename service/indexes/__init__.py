"""The per-app registry of AsyncIndex pools."""
