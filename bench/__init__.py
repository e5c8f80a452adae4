"""Benchmarks that compare services within one run on one machine: see bench/README.md."""
