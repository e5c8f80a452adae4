"""Searches of a running service, with both clients."""

from __future__ import annotations

from typing import Any

import pytest

from service.client import Invalid, InvalidArgument

TEXT = "can butter be frozen"


@pytest.mark.parametrize("mode", ["semantic", "lexical", "cascading"])
def test_every_search_form_returns_results_and_status(client: Any, mode: str) -> None:
    answer = getattr(client, mode)(TEXT, top_k=3)
    assert len(answer.results) == 3
    assert "butter" in " ".join(result.text.lower() for result in answer.results)
    assert [result.score for result in answer.results] == sorted(
        (result.score for result in answer.results), reverse=True
    )
    assert not answer.degraded
    assert answer.receipt.stages[0].status == "ok"
    assert all(bool(result.found_by) == (mode == "cascading") for result in answer.results)
    assert answer.raw["results"][0]["_id"] == answer.results[0].id
    assert client.search(TEXT, mode=mode, top_k=3).results == answer.results


def test_search_returns_requested_fields(client: Any) -> None:
    (result,) = client.semantic(TEXT, top_k=1, fields=["category", "year"]).results
    assert result["category"] == result.fields["category"]
    assert isinstance(result["year"], int)
    assert result.text is None
    with pytest.raises(KeyError):
        result["tags"]


def test_search_sends_every_parameter(client: Any) -> None:
    answer = client.cascading(
        TEXT,
        top_k=2,
        namespace="",
        filter={"year": {"$gte": 2000}},
        fields=["*"],
        rerank="none",
        fusion="rrf",
        lexical_weight=0.5,
        explain=True,
        depth=20,
        typos=True,
        highlight=True,
        timeout_ms=5000,
    )
    for result in answer.results:
        assert result["year"] >= 2000
        assert result.explain["fused"]["rank"] >= 1
        assert result.highlights
    assert [stage.stage for stage in answer.receipt.stages][-1] == "fuse"
    terms = client.lexical(TEXT, match_terms=["butter"], top_k=50)
    assert terms.results
    assert all("butter" in result.text.lower() for result in terms.results)


def test_search_pages_follow_one_ranking(client: Any) -> None:
    first = client.cascading(TEXT, top_k=4, depth=12, rerank="none", explain=True)
    pages = list(client.pages(first))
    assert pages[0] is first
    assert len(pages) > 2
    ids = [result.id for page in pages for result in page.results]
    assert len(ids) == len(set(ids))
    assert pages[-1].cursor is None
    assert client.next_page(pages[-1]) is None
    assert all(result.found_by and result.explain for page in pages for result in page.results)
    assert len(client.next_page(first, top_k=2).results) == 2


def test_search_error_names_field(client: Any) -> None:
    with pytest.raises(Invalid) as caught:
        client.semantic(TEXT, top_k=0)
    error = caught.value
    assert (error.status, error.code) == (422, "invalid_request")
    assert error.errors[0].loc == ("top_k",)
    assert error.request_id
    assert str(error) == error.detail
    with pytest.raises(Invalid, match="Text query cannot be empty"):
        client.cascading(" ")


def test_search_rejects_unknown_option_before_sending(client: Any) -> None:
    with pytest.raises(TypeError, match="topk"):
        client.semantic(TEXT, topk=1)
    with pytest.raises(InvalidArgument, match="semantic, lexical, cascading"):
        client.search(TEXT, mode="hybrid")
