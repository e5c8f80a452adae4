"""Logs are lines that a machine can read, and they hold no secret."""

from __future__ import annotations

import json
import logging

import pytest

from service.logs import JsonFormatter, TextFormatter, configure_logging, request_id_var

SECRET = "sk-0123456789"


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "service.test", "levelname": "INFO", "levelno": 20})
    made.msg = message
    vars(made).update(extra)
    return made


def test_a_json_line_has_the_message_the_request_and_the_extras() -> None:
    token = request_id_var.set("r-1")
    try:
        line = JsonFormatter(()).format(record("GET /x", status=200))
    finally:
        request_id_var.reset(token)
    entry = json.loads(line)
    assert (entry["message"], entry["status"], entry["request_id"]) == ("GET /x", 200, "r-1")
    assert entry["time"].endswith("+00:00")


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
def test_a_secret_is_blotted_out_wherever_it_stands(
    formatter: type[JsonFormatter | TextFormatter],
) -> None:
    try:
        raise ValueError(f"key {SECRET} was refused")
    except ValueError as exc:
        trouble = (type(exc), exc, exc.__traceback__)
    line = formatter([SECRET]).format(record(f"with {SECRET}", header=SECRET, exc_info=trouble))
    assert SECRET not in line
    assert "[secret]" in line
    assert "was refused" in line


def test_a_multi_line_exception_is_one_json_line() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError as exc:
        trouble = (type(exc), exc, exc.__traceback__)
    line = JsonFormatter(()).format(record("failed", exc_info=trouble))
    assert "\n" not in line
    assert "Traceback" in json.loads(line)["exception"]


def test_clients_that_log_every_call_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    try:
        configure_logging("INFO", "json")
        logging.getLogger("pinecone.x").info("Searching namespace")
        logging.getLogger("service.x").info("ours")
        lines = capsys.readouterr().err.splitlines()
    finally:
        logging.getLogger().handlers[:] = before
    assert [json.loads(line)["message"] for line in lines] == ["ours"]
