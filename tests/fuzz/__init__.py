"""Fuzzing of every parser that takes bytes from outside.

A parser is a function in `tests/fuzz/parsers` that takes any bytes and raises nothing, except for a
bug. `make fuzz` searches for inputs that reach new code, guided by coverage; `test_corpus.py` runs
the inputs that it has found so far, which are kept in `corpus/`.
"""
