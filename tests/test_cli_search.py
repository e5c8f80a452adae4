"""`search` in this process: the table, the JSON, and what is told of a wrong question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.cli import main
from tests.conftest import Command
from tests.faraway import ANSWER, KEY, Scripted, faraway

BREAD = {"_id": "bread", "chunk_text": "Keep a loaf of bread in a cloth bag. " * 12, "year": 2020}
WILD = {"_id": "wild\x1b[31m", "chunk_text": "bread \x1b]0;owned\x07 \u202e \r\n\u0000 日本語" * 3}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("var")
    path = folder / "records.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in (BREAD, WILD)))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATA_DIR", str(folder))
        assert main(["load", str(path)]) == 0
        # A load as short as this ends before the engine's views are saved; a search has them made.
        assert main(["search", "x", "--mode", "lexical"]) == 0
    return folder


def test_a_table_that_fits_and_a_receipt(command: Command, data_dir: Path) -> None:
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


def test_the_modes_the_fields_and_the_filter_are_the_apis(command: Command, data_dir: Path) -> None:
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


def test_what_is_in_a_record_never_gets_to_command_the_terminal(
    command: Command, data_dir: Path
) -> None:
    done = command("search", "bread", "--fields", "*", DATA_DIR=data_dir)
    assert "owned" in done.stdout
    assert not any(ord(character) < 32 for character in done.stdout.replace("\n", ""))
    assert "\u202e" not in done.stdout


def test_json_is_the_apis_answer(command: Command, data_dir: Path) -> None:
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
    ],
)
def test_a_wrong_question_is_told_in_a_line(
    command: Command, data_dir: Path, arguments: list[str], status: int, sentence: str
) -> None:
    done = command("search", *arguments, DATA_DIR=data_dir)
    assert done.returncode == status
    assert sentence in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_over_http_it_asks_the_service_and_says_what_is_missing(
    command: Command, tmp_path: Path
) -> None:
    with faraway(key=KEY) as service:
        done = command(
            "search", "a question", "--url", service.address, "--mode", "lexical", "--top-k", "3",
            "--filter", '{"year": 1}', "--fields", "a,b", "--namespace", "ns", SERVICE_API_KEY=KEY,
        )  # fmt: skip
        as_json = command("search", "x", "--json", "--url", service.address, SERVICE_API_KEY=KEY)
    path, _, body = service.asked[0]
    assert path == "/api/lexical-search"
    assert body == {
        "text_query": "a question",
        "top_k": 3,
        "namespace": "ns",
        "filter": {"year": 1},
        "fields": ["a", "b"],
    }
    assert done.stdout.splitlines()[-1] == (
        "1 result in 12.3 ms · lexical 1.0 ms · DEGRADED, without semantic (late: upstream_timeout)"
    )
    assert json.loads(as_json.stdout) == ANSWER
    assert service.asked[1][0] == "/api/cascading-retrieval"


def test_the_services_own_sentence_is_what_is_told(command: Command) -> None:
    with faraway(Scripted(504, {"detail": "The time was up", "code": "x"})) as service:
        done = command("search", "x", "--url", service.address)
    assert (done.returncode, done.stderr) == (1, "cascade: The time was up\n")


def test_help_names_every_command(command: Command) -> None:
    done = command("--help")
    assert done.returncode == 0
    for name in ("serve", "load", "search"):
        assert f"\n    {name} " in done.stdout
    assert "_worker" not in done.stdout
