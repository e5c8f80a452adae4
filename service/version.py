"""The version, for whoever shows it."""

VERSION = "0.1.0"
