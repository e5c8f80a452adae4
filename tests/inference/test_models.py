"""Settings of embedders and rerankers: selection, loading and errors."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import StartupFailed
from service.inference.embedder import CorpusStatistics
from service.inference.models import max_reranked_documents, open_embedder, open_reranker
from tests.e2e.process import ROOT
from tests.inference.model_folders import cross_encoder_folder, model2vec_folder, needs_transformers

ASK = """
import sys
from service.errors import StartupFailed
from service.inference.models import open_embedder
try:
    print(open_embedder(sys.argv[1]).name)
except StartupFailed as exc:
    print("failed:", exc)
"""


def ask(setting: str, cache: Path, **environment: str) -> str:
    """Runs in a new process, since the hub client reads the environment only once."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, setting],
        cwd=ROOT,
        env={**os.environ, "HF_HOME": str(cache), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "setting", ["", "word2vec", "wordllama:x", "model2vec", "model2vec:", "sentence-transformers:"]
)
def test_unknown_embedder_error_lists_embedders(setting: str) -> None:
    with pytest.raises(StartupFailed, match=r"^EMBEDDER: .*wordllama, model2vec:"):
        open_embedder(setting)


@pytest.mark.parametrize("setting", ["", "cohere", "builtin:x", "sentence-transformers:"])
def test_unknown_reranker_error_lists_rerankers(setting: str) -> None:
    with pytest.raises(StartupFailed, match=r"^RERANKER: .*builtin, none, sentence-"):
        open_reranker(setting, open_embedder("wordllama"), CorpusStatistics)


def test_open_reranker_none_and_builtin() -> None:
    embedder = open_embedder("wordllama")
    assert open_reranker("none", embedder, CorpusStatistics) is None
    built_in = open_reranker("builtin", embedder, CorpusStatistics)
    assert built_in is not None
    assert built_in.model == "builtin"


def test_missing_package_error_names_pip_command() -> None:
    if importlib.util.find_spec("sentence_transformers"):
        pytest.skip("sentence-transformers is installed here")
    for find in (
        lambda: open_embedder("sentence-transformers:some/model"),
        lambda: open_reranker(
            "sentence-transformers:some/model", open_embedder("wordllama"), CorpusStatistics
        ),
    ):
        with pytest.raises(StartupFailed) as failed:
            find()
        assert 'pip install "cascade-search[sentence-transformers]"' in str(failed.value)
        assert "or pip install sentence-transformers" in str(failed.value)


def test_folder_without_model_raises_startup_failed(tmp_path: Path) -> None:
    with pytest.raises(StartupFailed, match=r"^EMBEDDER: .* can't be loaded") as failed:
        open_embedder(f"model2vec:{tmp_path}")
    assert "\n" not in str(failed.value)


def test_truncated_weights_raise_startup_failed(tmp_path: Path) -> None:
    folder = model2vec_folder(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(StartupFailed, match=r"^EMBEDDER: .* can't be loaded") as failed:
        open_embedder(f"model2vec:{folder}")
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("model", ["./nowhere", "/no/such/folder", "a/b/c", "~/nothing here"])
def test_missing_folder_is_not_requested_from_hub(model: str) -> None:
    with pytest.raises(StartupFailed, match="neither an existing folder"):
        open_embedder(f"model2vec:{model}")


def test_hub_id_without_network_fails_fast(tmp_path: Path) -> None:
    told = ask("model2vec:nobody/nothing", tmp_path, HF_HUB_OFFLINE="1")
    assert told.startswith("failed: EMBEDDER: 'nobody/nothing' is not a folder")
    assert "\n" not in told


def test_unresponsive_hub_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        told = ask("model2vec:nobody/nothing", tmp_path, HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0")
    assert told.startswith("failed: EMBEDDER: 'nobody/nothing' is not a folder")


def test_cached_hub_model_needs_no_network(
    tmp_path: Path,
) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--some--model"
    model2vec_folder(repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    told = ask("model2vec:some/model", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert told == "model2vec-8@some/model@0123456789ab"
    (repository / "snapshots" / revision / "model.safetensors").unlink()
    told = ask("model2vec:some/model", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert told.startswith("failed: EMBEDDER: 'some/model' can't be loaded")


async def test_cross_encoder_scores_from_0_to_1_best_first(tmp_path: Path) -> None:
    needs_transformers()
    folder = cross_encoder_folder(tmp_path)
    reranker = open_reranker(
        f"sentence-transformers:{folder}", open_embedder("wordllama"), CorpusStatistics
    )
    assert reranker is not None
    documents = ["the cat", "", "bread " * 9_000, "\ud800", *(f"dog {i}" for i in range(60))]
    ranking = await reranker.rerank("is the cat soft", documents)
    scores = [score for _, score in ranking.order]
    assert sorted(index for index, _ in ranking.order) == list(range(len(documents)))
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    alone = await reranker.rerank("is the cat soft", ["the cat"])
    assert alone.order[0][1] == pytest.approx(dict(ranking.order)[0], abs=1e-5)
    assert (await reranker.rerank("nothing", [])).order == []


def test_cross_encoder_with_classes_is_rejected(tmp_path: Path) -> None:
    needs_transformers()
    folder = cross_encoder_folder(tmp_path, labels=3)
    with pytest.raises(StartupFailed, match=r"^RERANKER: .* a classifier with 3 classes"):
        open_reranker(
            f"sentence-transformers:{folder}", open_embedder("wordllama"), CorpusStatistics
        )


def test_max_reranked_documents_per_reranker() -> None:
    kinds = ("none", "builtin", "sentence-transformers:some/model")
    assert [max_reranked_documents(each) for each in kinds] == [0, 200, 100]
