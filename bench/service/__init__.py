"""The main benchmark: Cascade against a documented baseline; see bench/README.md."""
