"""What an index holds: its searchable fields, declared as Pinecone declares them.

Knows nothing of how a field is searched. Whatever a document has beside these fields is for
filtering and for reading back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

METRICS = ("cosine", "dotproduct", "euclidean")
MAX_DIMENSION = 20_000
MAX_NAME = 64  # bytes of a field's name
LANGUAGES = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
CODES = {name: code for code, name in LANGUAGES.items()}
FOR_FILTERS = ("string_list", "boolean", "integer", "float")  # every field can be filtered by


@dataclass(frozen=True, slots=True)
class Text:
    """A text, found by meaning (`embed`), by words, or by both."""

    embed: bool
    words: bool
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Dense:
    """A vector that the caller brings."""

    dimension: int
    metric: str = "cosine"


@dataclass(frozen=True, slots=True)
class Sparse:
    """Indices with values that the caller brings; it answers exact dot products."""


Field = Text | Dense | Sparse
FieldT = TypeVar("FieldT", Text, Dense, Sparse)


@dataclass(frozen=True)
class Schema:
    """The searchable fields by name. `ValueError` where they can't be those of an index."""

    fields: Mapping[str, Field]

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("an index needs at least one searchable field")
        for name, field in self.fields.items():
            _check(name, field)

    @cached_property
    def texts(self) -> dict[str, Text]:
        return dict(self._of(Text))

    @cached_property
    def dense(self) -> dict[str, Dense]:
        return dict(self._of(Dense))

    @cached_property
    def sparse(self) -> list[str]:
        return [name for name, _ in self._of(Sparse)]

    @cached_property
    def embedded(self) -> list[str]:
        return [name for name, text in self.texts.items() if text.embed]

    @cached_property
    def worded(self) -> list[str]:
        return [name for name, text in self.texts.items() if text.words]

    def to_dict(self) -> dict[str, Any]:
        """As Pinecone writes it."""
        return {"fields": {name: _to_dict(field) for name, field in self.fields.items()}}

    @classmethod
    def from_dict(cls, given: Any) -> Schema:
        """As Pinecone reads it. Fields that are declared for filters alone are left out."""
        fields = given.get("fields") if isinstance(given, Mapping) else None
        if not isinstance(fields, Mapping):
            raise ValueError('a schema is an object such as {"fields": {"text": {…}}}')  # noqa: TRY004 - out of a file or a request
        read = {name: _from_dict(name, field) for name, field in fields.items()}
        return cls({name: field for name, field in read.items() if field is not None})

    def _of(self, kind: type[FieldT]) -> Iterator[tuple[str, FieldT]]:
        return ((name, field) for name, field in self.fields.items() if isinstance(field, kind))


def _check(name: str, field: Field) -> None:
    if not name or name.startswith(("_", "$")):
        raise ValueError(f"{name!r} can't be a field's name: it is empty, or starts with _ or $")
    if len(name.encode("utf-8", "replace")) > MAX_NAME or not name.isprintable():
        raise ValueError(f"{name!r} can't be a field's name: it is too long, or can't be printed")
    if isinstance(field, Text) and not (field.embed or field.words):
        raise ValueError(f"{name}: a text is searched by meaning, by words, or by both")
    if isinstance(field, Text) and field.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise ValueError(f"{name}: {field.language!r} is not a known language; there are {known}")
    if isinstance(field, Dense):
        if not 1 <= field.dimension <= MAX_DIMENSION:
            raise ValueError(f"{name}: a dimension is a number from 1 to {MAX_DIMENSION}")
        if field.metric not in METRICS:
            known = ", ".join(METRICS)
            raise ValueError(f"{name}: {field.metric!r} is not a metric; there are {known}")


def _to_dict(field: Field) -> dict[str, Any]:
    if isinstance(field, Dense):
        return {"type": "dense_vector", "dimension": field.dimension, "metric": field.metric}
    if isinstance(field, Sparse):
        return {"type": "sparse_vector"}
    embed: dict[str, Any] = {"embed": {}} if field.embed else {}
    words = {"full_text_search": {"language": field.language}} if field.words else {}
    return {"type": "string", **embed, **words}


def _from_dict(name: str, given: Any) -> Field | None:
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == "dense_vector" and type(given.get("dimension")) is int:
        return Dense(given["dimension"], str(given.get("metric") or "cosine").lower())
    if kind == "sparse_vector":
        return Sparse()
    if kind == "semantic_text":  # how Pinecone called it before
        return Text(embed=True, words=False)
    if kind == "string":
        return _text_from(name, given)
    if kind in FOR_FILTERS:
        return None
    raise ValueError(
        f"{name!r} is none of string, dense_vector (with a dimension), sparse_vector, "
        + ", ".join(FOR_FILTERS)
    )


def _text_from(name: str, given: Mapping[str, Any]) -> Text | None:
    search = given.get("full_text_search")
    options = search if isinstance(search, Mapping) else {}
    if options.get("ngram") is not None:
        raise ValueError(f"{name}: a text is searched by words here, not by runs of characters")
    language = str(options.get("language") or "en").lower()
    embed = given.get("embed") is not None
    words = search is not None or given.get("sparse_embed") is not None
    return Text(embed, words, CODES.get(language, language)) if embed or words else None
