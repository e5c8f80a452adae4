"""Cascade's main benchmark, against an honest baseline: see bench/README.md."""
