"""Tests for the sample records: queries as a visitor types them have their answer first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.app import create_app
from service.backends.embedded import SAMPLES
from service.settings import load_settings
from tests.conftest import open_client

# Each query with the id of its answer, or with the beginning of the ids of its answers.
ANSWERS = {
    # one word
    "bread": "bread-",
    "milk": "milk-",
    "pasta": "pasta-",
    "mold": "mold-",
    "lawn": "lawn-",
    "moths": "moths-",
    "vacuum": "vacuum-",
    # a few words
    "boil eggs": "eggs-boil",
    "pancake recipe": "pancakes-recipe",
    "clean oven": "oven-clean",
    "red wine stain": "stain-red-wine",
    "squeaky door": "door-squeaks",
    "tomato soup": "soup-tomato",
    "limescale kettle": "kettle-limescale",
    "slugs in garden": "slugs-",
    "wash wool sweater": "wool-wash",
    "unclog sink": "sink-clogged",
    "freeze leftovers": "leftovers-freeze",
    "chocolate cake": "cake-chocolate",
    "coffee machine not working": "coffee-machine-",
    "remove chewing gum": "stain-chewing-gum",
    "banana bread": "banana-bread",
    "cordless vacuum cleaner": "vacuum-cordless",
    # whole questions
    "how do I keep bread fresh": "bread-keep-fresh",
    "why is my washing machine so loud": "washing-machine-loud",
    "how long do I cook rice": "rice-cook",
    "what can I do against fruit flies": "fruit-flies-trap",
    "how often should I water houseplants": "houseplants-water",
    "can I put a cast iron pan in the dishwasher": "cast-iron-",
    "how do I get rid of ants in the kitchen": "ants-kitchen",
    "why does my fridge smell": "fridge-smell",
    "what temperature should chicken be": "chicken-temperature",
    "how do I sharpen a kitchen knife": "knife-sharpen",
    "how do I hang a picture on the wall": "picture-hang",
    "when should I plant tomatoes": "tomatoes-plant",
    "why are my towels so stiff": "towels-stiff",
    # codes and brands
    "E24": "quillmere-dw-e24",
    "dishwasher E61": "quillmere-dw-e61",
    "dw-e11": "quillmere-dw-e11",
    "Brindlow oven": "brindlow-oven-",
}
TYPES: dict[str, type] = {
    "_id": str,
    "chunk_text": str,
    "kind": str,
    "category": str,
    "brand": str,
    "year": int,
    "rating": float,
    "tags": list,
    "source": str,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app on the embedded engine, with the sample records and no other setting."""
    settings = load_settings(data_dir=str(tmp_path_factory.mktemp("var")), load_samples=True)
    async with open_client(create_app(settings)) as opened:
        yield opened


async def first_hit(client: httpx.AsyncClient, query: str) -> str:
    response = await client.get("/api/cascading-retrieval", params={"text_query": query})
    assert response.status_code == 200, response.text
    found: str = response.json()["results"][0]["_id"]
    return found


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("query", "answer"), ANSWERS.items(), ids=ANSWERS)
async def test_sample_query_has_its_answer_first(
    client: httpx.AsyncClient, query: str, answer: str
) -> None:
    assert (await first_hit(client, query)).startswith(answer)


@pytest.mark.asyncio(loop_scope="module")
async def test_openapi_example_query_has_its_answer_first(client: httpx.AsyncClient) -> None:
    document = (await client.get("/api/openapi.json")).json()
    parameters = document["paths"]["/api/cascading-retrieval"]["get"]["parameters"]
    (text_query,) = [each for each in parameters if each["name"] == "text_query"]
    (example,) = text_query["schema"]["examples"]
    assert await first_hit(client, example) == ANSWERS[example]
    page = (await client.get("/api/docs")).text
    assert f'text_query: "{example}"' in page


def test_sample_records_have_unique_ids_and_consistent_types() -> None:
    records: list[dict[str, Any]] = [
        json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()
    ]
    counts = Counter(record["_id"] for record in records)
    assert max(counts.values()) == 1
    for record in records:
        assert record.keys() | {"brand"} == TYPES.keys()
        assert all(type(value) is TYPES[name] for name, value in record.items())
        assert all(type(tag) is str for tag in record["tags"])
    assert all("brand" in record for record in records if record["kind"] == "product")
