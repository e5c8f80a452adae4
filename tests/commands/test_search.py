"""`search`: the table, the JSON and the errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import main
from tests.conftest import Command, unchanged_logging
from tests.fake_service import KEY, SEARCH_RESPONSE, ScriptedResponse, fake_service

ROOT = Path(__file__).parent.parent.parent
BREAD = {"_id": "bread", "chunk_text": "Keep a loaf of bread in a cloth bag. " * 12, "year": 2020}
WILD = {"_id": "wild\x1b[31m", "chunk_text": "bread \x1b]0;owned\x07 \u202e \r\n\u0000 日本語" * 3}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("var")
    path = folder / "records.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in (BREAD, WILD)))
    with pytest.MonkeyPatch.context() as environment, unchanged_logging():
        environment.setenv("DATA_DIR", str(folder))
        assert main(["load", str(path)]) == 0
        # A load as short as this ends before the engine's views are saved; a search has them made.
        assert main(["search", "x", "--mode", "lexical"]) == 0
    return folder


def test_search_prints_a_table_that_fits_the_terminal_and_a_receipt(
    command: Command, data_dir: Path
) -> None:
    done = command("search", "loaf", "--top-k", "1", DATA_DIR=data_dir, COLUMNS="60")
    assert (done.returncode, done.stderr) == (0, "")
    head, result, *text, receipt = done.stdout.splitlines()
    assert head.split() == ["#", "score", "id", "found", "by"]
    assert result.split()[0] == "1"
    assert result.split()[2:] in (
        ["bread", "semantic,", "lexical"],
        ["bread", "lexical,", "semantic"],
    )
    assert len(text) == 3
    assert text[0].strip().startswith("Keep a loaf of bread")
    assert text[2].endswith("…")
    assert all(len(line) <= 60 for line in text)
    assert receipt.startswith("1 result in ")
    assert "semantic " in receipt
    assert "fuse " in receipt
    assert "\x1b" not in done.stdout


def test_search_passes_mode_fields_and_filter(command: Command, data_dir: Path) -> None:
    words = command("search", "loaf", "--mode", "lexical", "--fields", "year", DATA_DIR=data_dir)
    assert "year: 2020" in words.stdout
    assert "Keep a loaf" not in words.stdout
    assert "semantic" not in words.stdout
    none = command(
        "search", "loaf", "--filter", '{"year": {"$gt": 2020}}', "--mode", "lexical",
        DATA_DIR=data_dir,
    )  # fmt: skip
    assert none.returncode == 0
    assert none.stdout.startswith("no results in ")
    elsewhere = command("search", "loaf", "--namespace", "elsewhere", DATA_DIR=data_dir)
    assert elsewhere.stdout.startswith("no results in ")


def test_search_removes_control_characters_of_records(command: Command, data_dir: Path) -> None:
    done = command("search", "bread", "--fields", "*", DATA_DIR=data_dir)
    assert "owned" in done.stdout
    assert not any(ord(character) < 32 for character in done.stdout.replace("\n", ""))
    assert "\u202e" not in done.stdout


def test_search_json_prints_the_answer_of_the_api(command: Command, data_dir: Path) -> None:
    answer = json.loads(command("search", "loaf", "--json", DATA_DIR=data_dir).stdout)
    assert answer["results"][0]["_id"] == "bread"
    assert answer.keys() == {"results", "degraded", "cursor", "receipt"}


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ([" "], 1, "cascade: Text query cannot be empty"),
        (["x", "--filter", '{"a": {"$no": 1}}'], 1, "cascade: filter: '$no' on 'a' is not an oper"),
        (["x", "--filter", "{"], 2, "argument --filter: is not JSON"),
        (["x", "--filter", "[]"], 2, "argument --filter: must be a JSON object"),
        (["x", "--top-k", "0"], 2, "argument --top-k: must be a whole number from 1 to 10000"),
        (["x", "--namespace", "a/b"], 2, "argument --namespace: a namespace has 1 to 512"),
        (["x", "--fields", "a,"], 2, "argument --fields: must be names with commas between"),
        (["x", "--mode", "psychic"], 2, "argument --mode: invalid choice"),
        (["x", "--fusion", "sum"], 2, "argument --fusion: invalid choice"),
        (["x", "--lexical-weight", "1.5"], 2, "argument --lexical-weight: must be a number from 0"),
        (["x", "--lexical-weight", "nan"], 2, "argument --lexical-weight: must be a number from 0"),
        (
            ["x", "--lexical-weight", "1", "--mode", "lexical"],
            1,
            "lexical_weight: is supported only by cascading",
        ),
    ],
)
def test_search_prints_an_invalid_request_in_one_line(
    command: Command, data_dir: Path, arguments: list[str], status: int, sentence: str
) -> None:
    done = command("search", *arguments, DATA_DIR=data_dir)
    assert done.returncode == status
    assert sentence in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_search_over_http_sends_all_options_and_reports_missing_stages(
    command: Command, tmp_path: Path
) -> None:
    with fake_service(key=KEY) as service:
        done = command(
            "search", "a question", "--url", service.address, "--mode", "lexical", "--top-k", "3",
            "--filter", '{"year": 1}', "--fields", "a,b", "--namespace", "ns", SERVICE_API_KEY=KEY,
        )  # fmt: skip
        as_json = command("search", "x", "--json", "--url", service.address, SERVICE_API_KEY=KEY)
    path, _, body = service.requests[0]
    assert path == "/api/lexical-search"
    assert body == {
        "text_query": "a question",
        "top_k": 3,
        "namespace": "ns",
        "filter": {"year": 1},
        "fields": ["a", "b"],
    }
    assert done.stdout.splitlines()[-1] == (
        "1 result in 12.3 ms · lexical 1.0 ms · "
        "DEGRADED, without semantic (late: upstream_timeout, 10.0 ms)"
    )
    assert json.loads(as_json.stdout) == SEARCH_RESPONSE
    assert service.requests[1][0] == "/api/cascading-retrieval"


def test_search_over_http_sends_fusion_and_explain(command: Command) -> None:
    with fake_service() as service:
        done = command(
            "search", "x", "--url", service.address, "--explain", "--fusion", "rrf",
            "--lexical-weight", "0",
        )  # fmt: skip
    assert done.returncode == 0
    (body,) = [body for _, _, body in service.requests]
    assert body == {"text_query": "x", "explain": True, "fusion": "rrf", "lexical_weight": 0}


def test_search_over_http_sends_match_terms_typos_and_highlight(command: Command) -> None:
    with fake_service() as service:
        done = command(
            "search", "x", "--url", service.address, "--mode", "lexical", "--match-terms", "a, b",
            "--typos", "--highlight",
        )  # fmt: skip
    assert done.returncode == 0
    (body,) = [body for _, _, body in service.requests]
    assert body == {"text_query": "x", "match_terms": ["a", "b"], "typos": True, "highlight": True}


def test_search_highlight_marks_words_in_brackets(command: Command, data_dir: Path) -> None:
    done = command(
        "search", "lof", "--typos", "--highlight", "--mode", "lexical", "--data-dir", str(data_dir)
    )
    assert "[loaf]" in done.stdout
    assert "highlights" not in done.stdout
    without = command("search", "loaf", "--mode", "lexical", DATA_DIR=data_dir)
    assert "[loaf]" not in without.stdout


def test_search_highlight_keeps_a_field_of_that_name(command: Command) -> None:
    result = {"_id": "a", "score": 1.0, "chunk_text": "x", "highlights": ["of the year"]}
    answer = {"results": [result], "degraded": False, "receipt": EXPLAINED["receipt"]}
    with fake_service(ScriptedResponse(200, answer)) as service:
        done = command("search", "x", "--url", service.address)
    assert '    highlights: ["of the year"]' in done.stdout.splitlines()


def test_search_over_http_reads_the_key_from_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"SERVICE_API_KEY={KEY}\n")
    with fake_service(key=KEY) as service:
        done = subprocess.run(
            [sys.executable, "-m", "service", "search", "x", "--url", service.address],
            check=False, capture_output=True, text=True, cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_search_warns_of_a_misspelled_setting(command: Command, data_dir: Path) -> None:
    done = command("search", "loaf", "--json", DATA_DIR=data_dir, PINECONE_TOPK="1")
    assert done.stderr == (
        "cascade: warning: PINECONE_TOPK is not a setting, and is ignored; "
        "did you mean PINECONE_TOP_K?\n"
    )
    assert len(json.loads(done.stdout)["results"]) > 1


EXPLAINED = {
    "results": [
        {
            "_id": "one",
            "score": 0.93,
            "chunk_text": "Text.",
            "found_by": ["semantic"],
            "explain": {
                "legs": {"semantic": {"rank": 3, "score": 0.71234}, "lexical": None},
                "fused": {"rank": 1, "score": 1.42},
                "reranked": {"rank": 2, "score": 0.93},
                "rank_without": {"semantic": None, "lexical": 2, "rerank": 1},
            },
        },
        {
            "_id": "two",
            "score": 1234.5678,
            "explain": {
                "legs": {"lexical": {"rank": 1, "score": 1234.5678}},
                "fused": None,
                "reranked": None,
                "rank_without": {"lexical": None},
            },
        },
        {"_id": "three", "score": 0.5, "explain": "A field of its own."},
    ],
    "degraded": True,
    "receipt": {
        "ms": 20.0,
        "missing": ["rerank"],
        "stages": [
            {"stage": "semantic", "status": "ok", "ms": 4.0, "attempts": 2, "fallback": None},
            {"stage": "lexical", "status": "ok", "ms": 3.0, "attempts": 1, "fallback": "cache"},
            {"stage": "warmth", "status": "skipped", "ms": 0.0, "attempts": 0},
            {"stage": "rerank", "status": "failed", "ms": 9.0, "attempts": 3, "error": "x"},
        ],
    },
}


def test_search_prints_explanations_and_every_stage_of_the_receipt(command: Command) -> None:
    with fake_service(ScriptedResponse(200, EXPLAINED)) as service:
        done = command("search", "x", "--url", service.address, COLUMNS="200")
    _, _, text, one, _, two, _, three, receipt = done.stdout.splitlines()
    assert text == "    Text."
    assert one == (
        "    semantic #3 0.7123 · lexical - · fused #1 1.42 · reranked #2 0.93 · "
        "without semantic -, without lexical #2, without rerank #1"
    )
    assert two == "    lexical #1 1235 · without lexical -"
    assert three == "    explain: A field of its own."
    assert receipt == (
        "3 results in 20.0 ms · semantic 4.0 ms in 2 attempts · lexical 3.0 ms, cache in its place"
        " · warmth skipped 0.0 ms · DEGRADED, without rerank (failed: x, 9.0 ms in 3 attempts)"
    )


def test_search_explanation_fits_the_terminal_and_matches_the_table(
    command: Command, data_dir: Path
) -> None:
    done = command(
        "search", "loaf", "--explain", "--rerank", "union", "--top-k", "1", "--fields", "year",
        DATA_DIR=data_dir, COLUMNS="60",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    _, _, year, *explanation, _ = done.stdout.splitlines()
    assert year == "    year: 2020"
    assert all(len(line) <= 60 for line in explanation)
    output = " ".join(line.strip() for line in explanation)
    for part in ("semantic #1 ", "lexical #1 ", "fused #1 ", "reranked #1 ", "without rerank #1"):
        assert part in output


def test_search_prints_the_detail_of_an_error_response(command: Command) -> None:
    with fake_service(ScriptedResponse(504, {"detail": "The time was up", "code": "x"})) as service:
        done = command("search", "x", "--url", service.address)
    assert (done.returncode, done.stderr) == (1, "cascade: The time was up\n")


def test_help_lists_every_command(command: Command) -> None:
    done = command("--help")
    assert done.returncode == 0
    for name in ("serve", "load", "search"):
        assert f"\n    {name} " in done.stdout
    assert "_worker" not in done.stdout


def test_command_does_not_run_waiting_imports(command: Command, tmp_path: Path) -> None:
    waiting = tmp_path / "var" / "imports" / f"{'0' * 32}.spool"
    waiting.parent.mkdir(parents=True)
    waiting.write_bytes(b'{"_id": "a", "chunk_text": "bread"}\n')
    done = command("search", "bread")
    assert done.returncode == 0, done.stderr
    assert waiting.exists()
