"""Query strings, and the languages within parameters: filters, cursors, templates."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import from_json
from pyroaring import BitMap

from service.caching.memory_store import MemoryStore
from service.embedded.filters.index import FilterIndex
from service.indexes.filters import check_filter
from service.ingest.text_source import fill_template, parse_template
from service.jobs.job import is_id
from service.retrieval.query import Mode
from service.web.export.routes import ExportRequest
from service.web.imports.schemas import ImportParameters, ListImportsParameters
from service.web.parameters import NamespaceParameters, read_parameters
from service.web.records.schemas import ListParameters, WriteParameters
from service.web.search.cursors import Cursors
from service.web.search.parsing import RawSearch
from tests.fuzz.parsers.bodies import SEARCHES
from tests.fuzz.parsers.errors import answered_errors

MODES: tuple[Mode, ...] = get_args(Mode)
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
    {"a": ["x", "y"], "b": -(2**63), "long": "x" * 100},
]


def query_string(data: bytes) -> None:
    for mode in MODES:
        with answered_errors():
            SEARCHES.parse(RawSearch(mode, data, is_json=False))
    for model in MODELS:
        with answered_errors():
            read_parameters(model, data)


def _filter_index() -> FilterIndex:
    index = FilterIndex()
    for docno, fields in enumerate(RECORDS, 1):
        index.add(docno, "", fields)
    return index


FILTERS = _filter_index()
ALL = FILTERS.namespace("")


def filter_language(data: bytes) -> None:
    """A valid filter selects, and together with its opposite it selects everything."""
    try:
        filter = from_json(data, allow_inf_nan=False)
        check_filter(filter)
    except ValueError as error:
        str(error).encode()
        return
    selected = FILTERS.select("", filter, lambda *_: BitMap([1, 2]))
    assert selected <= ALL
    both = FILTERS.select("", {"$and": [filter, filter]}, lambda *_: BitMap([1, 2]))
    assert both == (selected if filter else ALL)


def cursor(data: bytes) -> None:
    text = data.decode(errors="replace")
    assert not is_id(text) or len(data) == 32
    store = MemoryStore(2**20, 0)
    with answered_errors():
        asyncio.run(Cursors(store, 60, enabled=True).load("semantic", "", text))


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
