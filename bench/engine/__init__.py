"""The embedded engine beside others that are opened in the process: see bench/README.md."""
