"""`search`: a table for people, or the JSON of the API for programs."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any, get_args

import orjson

from service.commands.connect import Connection, connect
from service.commands.interrupt import Interrupt, run
from service.commands.parsing import add_target_arguments, json_object, names, share, whole
from service.commands.results import table
from service.commands.terminal import Style, columns
from service.errors import Unavailable
from service.indexes.limits import MAX_TOP_K
from service.ingest.progress import stopwatch
from service.retrieval.query import Fusion, Mode, RerankMode
from service.settings import Settings

RETRY_INTERVAL_S = 0.05
EXAMPLES = """
examples:
  cascade search "how do I keep bread fresh"
  cascade search "E61" --mode lexical --top-k 3 --fields title,year
  cascade search "diswasher" --typos --highlight
  cascade search "oven F3E" --lexical-weight 0.8 --explain
  cascade search "stains" --filter '{"rating": {"$gte": 4}}' --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Search, and print the results as a table, with the timing of each stage."
    parser.epilog = EXAMPLES
    parser.add_argument("text", metavar="QUERY", help="the text to search for")
    parser.add_argument(
        "--mode",
        choices=get_args(Mode),
        default="cascading",
        help="by meaning, by words, or by both (default: cascading)",
    )
    parser.add_argument(
        "--top-k",
        type=whole(1, MAX_TOP_K),
        metavar="N",
        help="number of results (default: PINECONE_TOP_K)",
    )
    parser.add_argument(
        "--filter",
        type=json_object,
        metavar="JSON",
        help="a filter in Pinecone's filter language, as a JSON object",
    )
    parser.add_argument(
        "--fields",
        type=names,
        metavar="A,B",
        help="fields to show, * for all (default: the text)",
    )
    parser.add_argument(
        "--rerank", choices=get_args(RerankMode), help="what to rerank (default: as in the API)"
    )
    parser.add_argument(
        "--fusion",
        choices=get_args(Fusion),
        help="how the scores of both legs are combined (default: SEARCH_FUSION)",
    )
    parser.add_argument(
        "--lexical-weight",
        type=share,
        metavar="W",
        help="weight of the lexical leg, from 0 to 1 (default: SEARCH_LEXICAL_WEIGHT)",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        default=None,
        help="show the rank and score of each result at each stage (- for none), and its rank "
        "without the stage",
    )
    parser.add_argument(
        "--match-terms",
        type=names,
        metavar="A,B",
        help="words that every result must contain (with --mode lexical)",
    )
    parser.add_argument(
        "--typos",
        action="store_true",
        default=None,
        help="find words that are misspelled by a letter or two, too (embedded engine)",
    )
    parser.add_argument(
        "--highlight",
        action="store_true",
        default=None,
        help="mark the words of the query in the results (embedded engine)",
    )
    add_target_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the JSON of the API")
    parser.set_defaults(run=_search, quiet=True)


def _search(settings: Settings, options: argparse.Namespace) -> int:
    async def command(interrupt: Interrupt) -> int:
        async with connect(settings, options.url, interrupt) as connection:
            opened_here = not options.url and settings.backend == "embedded"
            retry_s = settings.startup_timeout_s if opened_here else 0
            answer = await _search_until_complete(connection, options.mode, _body(options), retry_s)
        if options.json:
            print(orjson.dumps(answer).decode())
            return 0
        texts = ["chunk_text", settings.pinecone_text_field]
        style = Style.of(sys.stdout)
        for line in table(answer, texts, options.mode, columns(), style):
            print(line)
        return 0

    return run(command)


async def _search_until_complete(
    connection: Connection, mode: Mode, body: dict[str, Any], retry_s: float
) -> dict[str, Any]:
    """Search until the answer is complete: an engine that was just opened may be rebuilding."""
    elapsed = stopwatch()
    while True:
        try:
            answer = await connection.search(mode, body)
            if not answer.get("degraded") or elapsed() >= retry_s:
                return answer
        except Unavailable:
            if elapsed() >= retry_s:
                raise
        await asyncio.sleep(RETRY_INTERVAL_S)


def _body(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "text_query": options.text,
        "top_k": options.top_k,
        "namespace": options.namespace,
        "filter": options.filter,
        "fields": options.fields,
        "rerank": options.rerank,
        "fusion": options.fusion,
        "lexical_weight": options.lexical_weight,
        "match_terms": options.match_terms,
        "typos": options.typos,
        "highlight": options.highlight,
        "explain": options.explain,
    }
    return {name: value for name, value in given.items() if value is not None}
