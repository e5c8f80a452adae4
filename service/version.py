"""The version of Cascade; the package's metadata reads it from here."""

VERSION = "0.2.0"
