"""The embedded engine beside other in-process engines: see bench/README.md."""
