"""Escapes what a spreadsheet would take for a formula (CSV injection).

A program that opens a CSV file runs a cell that begins with one of `FORMULA_STARTS`. The rule is
that of OWASP: an apostrophe in front makes it text. Programs set up for other countries separate
the cells at semicolons or tabs, and then quotes do not hold a cell together. So the same is done
behind these and behind line breaks, wherever they are in a text.
"""

from __future__ import annotations

import re

FORMULA_STARTS = "=+-@＝＋－＠"
_START = re.escape(FORMULA_STARTS)
_ESCAPED = re.compile(rf'\A(?=[{_START}\t\r\n])|(?<=[;\t\r\n])(?="*[{_START}])')


def escape_formulas(cell: str) -> str:
    return _ESCAPED.sub("'", cell)
