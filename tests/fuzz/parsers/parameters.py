"""Query strings, and the languages within parameters: filters, cursors, templates."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json
from pyroaring import BitMap

from service.access.matching import matches
from service.caching.memory_store import MemoryStore
from service.embedded.filters.index import FilterIndex
from service.indexes.filters import check_filter
from service.ingest.text_source import fill_template, parse_template
from service.jobs.job import is_id
from service.web.export.routes import ExportRequest
from service.web.imports.schemas import ImportParameters, ListImportsParameters
from service.web.parameters import NamespaceParameters, read_parameters
from service.web.records.schemas import ListParameters, WriteParameters
from service.web.search.cursors import Cursors
from tests.fuzz.parsers.bodies import parse_search
from tests.fuzz.parsers.errors import answered_errors
from tests.fuzz.parsers.resources import run

MODELS: tuple[type[BaseModel], ...] = (
    NamespaceParameters,
    ListParameters,
    WriteParameters,
    ImportParameters,
    ListImportsParameters,
    ExportRequest,
)
RECORDS: list[dict[str, Any]] = [
    {},
    {"a": "x", "b": 1, "c": True},
    {"a": "y", "b": 2.5, "c": False},
    {"a": ["x", "y"], "b": -(2**63), "c": [], "": "x" * 100},
]


def query_string(data: bytes) -> None:
    parse_search(data, is_json=False)
    for model in MODELS:
        with answered_errors():
            read_parameters(model, data)


def _filter_index() -> FilterIndex:
    index = FilterIndex()
    for docno, fields in enumerate(RECORDS, 1):
        index.add(docno, "", fields)
    return index


FILTERS = _filter_index()


def filter_language(data: bytes) -> None:
    """The filter index selects the records that match, each evaluated by itself."""
    try:
        filter = from_json(data, allow_inf_nan=False)
        check_filter(filter)
    except ValueError as error:
        str(error).encode()
        return
    selected = FILTERS.select("", filter, lambda *_: BitMap())
    expected = [docno for docno, fields in enumerate(RECORDS, 1) if matches(fields, filter)]
    assert sorted(selected) == expected


def cursor(data: bytes) -> None:
    text = data.decode(errors="replace")
    assert not is_id(text) or len(data) == 32
    store = MemoryStore(2**20, 0)
    with answered_errors():
        run(Cursors(store, 60, enabled=True).load("semantic", "", text))


def text_template(data: bytes) -> None:
    template = data.decode(errors="replace")
    try:
        parts = parse_template(template)
    except ValueError as error:
        str(error).encode()
        return
    fields = {name: ["x", 1] for _, name in parts if name}
    assert fill_template(template, fields)
    assert fill_template(template, {}) == ""
