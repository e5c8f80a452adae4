"""Schemas: read and written as Pinecone does, or refused in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pinecone import SchemaBuilder

from service.embedded.schema import LANGUAGES, Dense, Schema, Sparse, Text

EVERY = Schema(
    {
        "title": Text(embed=True, words=True),
        "body": Text(embed=False, words=True, language="de"),
        "gist": Text(embed=True, words=False),
        "v": Dense(3, "euclidean"),
        "s": Sparse(),
    }
)


def test_a_schema_reads_back_as_it_was_written() -> None:
    assert Schema.from_dict(json.loads(json.dumps(EVERY.to_dict()))) == EVERY


def test_its_fields_are_known_by_what_they_are_searched_by() -> None:
    assert (EVERY.embedded, EVERY.worded) == (["title", "gist"], ["title", "body"])
    assert (list(EVERY.texts), list(EVERY.dense), EVERY.sparse) == (
        ["title", "body", "gist"],
        ["v"],
        ["s"],
    )


def test_what_the_clients_builder_makes_can_be_read() -> None:
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
            "title": Text(embed=False, words=True, language="de"),
            "v": Dense(4, "dotproduct"),
            "s": Sparse(),
        }
    )


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_language_has_two_names(code: str) -> None:
    for name in (code, LANGUAGES[code].title()):
        field = {"type": "string", "full_text_search": {"language": name}}
        assert Schema.from_dict({"fields": {"t": field}}).texts["t"].language == code


def embed(**more: Any) -> dict[str, Any]:
    return {"type": "string", "embed": {"model": "m"}, **more}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "at least one"),
        ({"year": {"type": "integer"}}, "at least one"),
        ({"": embed()}, "empty"),
        ({"_id": embed()}, "starts with _"),
        ({"$a": embed()}, "starts with _ or"),
        ({"x" * 65: embed()}, "too long"),
        ({"a\0b": embed()}, "can't be printed"),
        ({"\ud800": embed()}, "can't be printed"),
        ({"t": {"type": "string", "full_text_search": {"language": "klingon"}}}, "not a known"),
        ({"t": {"type": "string", "full_text_search": {"language": ["en"]}}}, "not a known"),
        ({"t": {"type": "string", "full_text_search": {"ngram": {"min_gram": 2}}}}, "by words"),
        ({"v": {"type": "dense_vector"}}, "dense_vector"),
        ({"v": {"type": "dense_vector", "dimension": True}}, "dense_vector"),
        ({"v": {"type": "dense_vector", "dimension": 0}}, "from 1 to 20000"),
        ({"v": {"type": "dense_vector", "dimension": 2, "metric": "near"}}, "not a metric"),
        ({"v": {"type": ["string"]}}, "is none of"),
        ({"v": "string"}, "is none of"),
        ("fields", "a schema is an object"),
    ],
)
def test_what_is_no_schema_is_told_in_a_sentence(fields: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
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
def test_any_json_is_a_schema_or_is_refused(given: Any) -> None:
    try:
        schema = Schema.from_dict(given)
    except ValueError:
        return
    assert Schema.from_dict(schema.to_dict()) == schema
