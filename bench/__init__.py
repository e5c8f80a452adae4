"""Measurements of Cascade that compare, in one run and on one machine: see bench/README.md."""
