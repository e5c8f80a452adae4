"""Finds variables that were probably meant as settings.

A variable that is misspelled has no effect, and nothing else would say so. Other programs have
variables, too, so only two kinds are reported: every unknown `PINECONE_…`, and names that are very
similar to a setting that is not set itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from dotenv import dotenv_values

PREFIX = "PINECONE_"
# The Pinecone client reads these itself.
CLIENT_VARIABLES = {"PINECONE_ADDITIONAL_HEADERS", "PINECONE_DEBUG", "PINECONE_DEBUG_CURL"}
MIN_SIMILARITY = 0.85
MIN_PINECONE_SIMILARITY = 0.8  # with the prefix in common
MIN_LENGTH = 6  # HOST and PORT resemble too many names


def unknown_variables(
    settings: Collection[str], env_file: Path, environment: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Yields a sentence for each. `settings` are the known names, in upper case."""
    from_file = dotenv_values(env_file) if env_file.is_file() else {}
    given = {name.upper() for name in (*environment, *from_file) if name.isidentifier()}
    for name in sorted(given - CLIENT_VARIABLES - set(settings)):
        is_pinecone = name.startswith(PREFIX)
        cutoff = MIN_PINECONE_SIMILARITY if is_pinecone else MIN_SIMILARITY
        similar = [each for each in settings if len(each) >= MIN_LENGTH]
        nearest = get_close_matches(name, similar, 1, cutoff)
        if is_pinecone or (nearest and nearest[0] not in given):
            where = f" (in {env_file.name})" if name in map(str.upper, from_file) else ""
            advice = f"did you mean {nearest[0]}?" if nearest else "docs/settings.md lists them all"
            yield f"{name}{where} is not a setting, and is ignored; {advice}"
