"""The schema of an index: its searchable fields, in Pinecone's schema format.

All other fields of a document can be filtered by and read back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

METRICS = ("cosine", "dotproduct", "euclidean")
MAX_DIMENSION = 20_000
MAX_FIELD_NAME_BYTES = 64
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
CODES_BY_NAME = {name: code for code, name in LANGUAGES.items()}
FILTER_ONLY_TYPES = ("string_list", "boolean", "integer", "float")  # every field can be filtered by


@dataclass(frozen=True, slots=True)
class TextField:
    """A text that is searched by meaning (`embed`), by its words (`full_text`), or by both."""

    embed: bool
    full_text: bool
    language: str = "en"


@dataclass(frozen=True, slots=True)
class DenseField:
    """A dense vector that the caller provides."""

    dimension: int
    metric: str = "cosine"


@dataclass(frozen=True, slots=True)
class SparseField:
    """A sparse vector that the caller provides; its metric is the dot product."""


Field = TextField | DenseField | SparseField
FieldT = TypeVar("FieldT", TextField, DenseField, SparseField)


@dataclass(frozen=True)
class Schema:
    """The searchable fields by name. Raises ValueError if a field is invalid."""

    fields: Mapping[str, Field]

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("an index needs at least one searchable field")
        for name, field in self.fields.items():
            _check_field(name, field)

    @cached_property
    def text_fields(self) -> dict[str, TextField]:
        return dict(self._fields_of(TextField))

    @cached_property
    def semantic_fields(self) -> list[str]:
        return [name for name, text in self.text_fields.items() if text.embed]

    @cached_property
    def full_text_fields(self) -> list[str]:
        return [name for name, text in self.text_fields.items() if text.full_text]

    @cached_property
    def dense_fields(self) -> dict[str, DenseField]:
        return dict(self._fields_of(DenseField))

    @cached_property
    def sparse_fields(self) -> list[str]:
        return [name for name, _ in self._fields_of(SparseField)]

    def to_dict(self) -> dict[str, Any]:
        """Return the schema in Pinecone's format."""
        return {"fields": {name: _dump_field(field) for name, field in self.fields.items()}}

    @classmethod
    def from_dict(cls, given: Any) -> Schema:
        """Parse Pinecone's format, ignoring the fields that it declares for filters only."""
        fields = given.get("fields") if isinstance(given, Mapping) else None
        if not isinstance(fields, Mapping):
            raise ValueError('a schema is an object such as {"fields": {"text": {…}}}')  # noqa: TRY004 - out of a file or a request
        parsed = {name: _parse_field(name, field) for name, field in fields.items()}
        return cls({name: field for name, field in parsed.items() if field is not None})

    def _fields_of(self, kind: type[FieldT]) -> Iterator[tuple[str, FieldT]]:
        return ((name, field) for name, field in self.fields.items() if isinstance(field, kind))


def _check_field(name: str, field: Field) -> None:
    if not name or name.startswith(("_", "$")):
        raise ValueError(f"{name!r} is not a valid field name: it is empty or starts with _ or $")
    if len(name.encode("utf-8", "replace")) > MAX_FIELD_NAME_BYTES or not name.isprintable():
        raise ValueError(
            f"{name!r} is not a valid field name: it is longer than {MAX_FIELD_NAME_BYTES} bytes "
            "or contains characters that are not printable"
        )
    if isinstance(field, TextField) and not (field.embed or field.full_text):
        raise ValueError(f"{name}: a text field needs embed, full_text_search, or both")
    if isinstance(field, TextField) and field.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise ValueError(f"{name}: {field.language!r} is not a known language; use one of {known}")
    if isinstance(field, DenseField):
        if not 1 <= field.dimension <= MAX_DIMENSION:
            raise ValueError(
                f"{name}: dimension is {field.dimension}; it must be from 1 to {MAX_DIMENSION}"
            )
        if field.metric not in METRICS:
            known = ", ".join(METRICS)
            raise ValueError(f"{name}: {field.metric!r} is not a metric; use one of {known}")


def _dump_field(field: Field) -> dict[str, Any]:
    if isinstance(field, DenseField):
        return {"type": "dense_vector", "dimension": field.dimension, "metric": field.metric}
    if isinstance(field, SparseField):
        return {"type": "sparse_vector"}
    embed: dict[str, Any] = {"embed": {}} if field.embed else {}
    full_text = {"full_text_search": {"language": field.language}} if field.full_text else {}
    return {"type": "string", **embed, **full_text}


def _parse_field(name: str, given: Any) -> Field | None:
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == "dense_vector" and type(given.get("dimension")) is int:
        return DenseField(given["dimension"], str(given.get("metric") or "cosine").lower())
    if kind == "sparse_vector":
        return SparseField()
    if kind == "semantic_text":  # the name of this type in older versions of Pinecone's API
        return TextField(embed=True, full_text=False)
    if kind == "string":
        return _parse_text_field(name, given)
    if kind in FILTER_ONLY_TYPES:
        return None
    raise ValueError(
        f"{name!r} has an unknown type; use string, dense_vector (with an integer dimension), "
        "sparse_vector, " + ", ".join(FILTER_ONLY_TYPES)
    )


def _parse_text_field(name: str, given: Mapping[str, Any]) -> TextField | None:
    search = given.get("full_text_search")
    options = search if isinstance(search, Mapping) else {}
    if options.get("ngram") is not None:
        raise ValueError(f"{name}: ngram is not supported; full_text_search works by words")
    language = str(options.get("language") or "en").lower()
    embed = given.get("embed") is not None
    full_text = search is not None or given.get("sparse_embed") is not None
    if not embed and not full_text:
        return None
    return TextField(embed, full_text, CODES_BY_NAME.get(language, language))
