"""Schemas: parsed from and written to Pinecone's format, or rejected with a ValueError."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pinecone import SchemaBuilder

from service.embedded.schema import LANGUAGES, DenseField, Schema, SparseField, TextField

EVERY = Schema(
    {
        "title": TextField(embed=True, full_text=True),
        "body": TextField(embed=False, full_text=True, language="de"),
        "gist": TextField(embed=True, full_text=False),
        "v": DenseField(3, "euclidean"),
        "s": SparseField(),
    }
)


def test_schema_round_trips_through_json() -> None:
    assert Schema.from_dict(json.loads(json.dumps(EVERY.to_dict()))) == EVERY


def test_schema_lists_fields_by_kind() -> None:
    assert (EVERY.semantic_fields, EVERY.full_text_fields) == (["title", "gist"], ["title", "body"])
    assert (list(EVERY.text_fields), list(EVERY.dense_fields), EVERY.sparse_fields) == (
        ["title", "body", "gist"],
        ["v"],
        ["s"],
    )


def test_from_dict_parses_output_of_pinecone_schema_builder() -> None:
    built = (
        SchemaBuilder()
        .add_string_field("title", full_text_search={"language": "german"})
        .add_string_field("genre", filterable=True)
        .add_dense_vector_field("v", dimension=4, metric="dotproduct")
        .add_sparse_vector_field("s")
        .build()
    )
    assert Schema.from_dict(built) == Schema(
        {
            "title": TextField(embed=False, full_text=True, language="de"),
            "v": DenseField(4, "dotproduct"),
            "s": SparseField(),
        }
    )


@pytest.mark.parametrize("code", LANGUAGES)
def test_from_dict_accepts_language_code_and_name(code: str) -> None:
    for name in (code, LANGUAGES[code].title()):
        field = {"type": "string", "full_text_search": {"language": name}}
        assert Schema.from_dict({"fields": {"t": field}}).text_fields["t"].language == code


def embed(**more: Any) -> dict[str, Any]:
    return {"type": "string", "embed": {"model": "m"}, **more}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "at least one"),
        ({"year": {"type": "integer"}}, "at least one"),
        ({"": embed()}, "empty"),
        ({"_id": embed()}, "starts with _"),
        ({"$a": embed()}, "starts with _ or"),
        ({"x" * 65: embed()}, "longer than 64"),
        ({"a\0b": embed()}, "not printable"),
        ({"\ud800": embed()}, "not printable"),
        ({"t": {"type": "string", "full_text_search": {"language": "klingon"}}}, "not a known"),
        ({"t": {"type": "string", "full_text_search": {"language": ["en"]}}}, "not a known"),
        ({"t": {"type": "string", "full_text_search": {"ngram": {"min_gram": 2}}}}, "by words"),
        ({"v": {"type": "dense_vector"}}, "dense_vector"),
        ({"v": {"type": "dense_vector", "dimension": True}}, "dense_vector"),
        ({"v": {"type": "dense_vector", "dimension": 0}}, "from 1 to 20000"),
        ({"v": {"type": "dense_vector", "dimension": 2, "metric": "near"}}, "not a metric"),
        ({"v": {"type": ["string"]}}, "unknown type"),
        ({"v": "string"}, "unknown type"),
        ("fields", "a schema is an object"),
    ],
)
def test_from_dict_rejects_invalid_schema_with_reason(fields: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Schema.from_dict({"fields": fields})
    str(caught.value).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "embed", "dimension", "metric", "full_text_search"]), inner
        )
    ),
)


@given(st.dictionaries(st.sampled_from(["fields"]), st.dictionaries(st.text(), JSON)) | JSON)
def test_from_dict_parses_or_rejects_any_json(given: Any) -> None:
    try:
        schema = Schema.from_dict(given)
    except ValueError:
        return
    assert Schema.from_dict(schema.to_dict()) == schema
