"""Log lines: their format, and the redaction of secrets."""

from __future__ import annotations

import json
import logging

import pytest

from service.logs import (
    JsonFormatter,
    TextFormatter,
    configure_logging,
    request_id_var,
    trace_id_var,
)

SECRET = "sk-0123456789"


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "service.test", "levelname": "INFO", "levelno": 20})
    made.msg = message
    vars(made).update(extra)
    return made


def test_json_log_line_has_message_request_id_and_extras() -> None:
    token = request_id_var.set("r-1")
    try:
        line = JsonFormatter(()).format(record("GET /x", status=200))
    finally:
        request_id_var.reset(token)
    entry = json.loads(line)
    assert (entry["message"], entry["status"], entry["request_id"]) == ("GET /x", 200, "r-1")
    assert entry["time"].endswith("+00:00")


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
def test_log_line_redacts_secrets_in_every_part(
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


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
@pytest.mark.parametrize(
    "credential",
    [
        f"csk_gq3tmnrxgyzdkojq_{'aB3' * 16}",
        "eyJhbGciOiJIUzI1NiJ9.eyJhcGlLZXlVaWQiOiJ4In0.m9sd-_kFqjB1iBwq8cGd",
    ],
    ids=["key", "token"],
)
def test_log_line_redacts_keys_and_tokens_wherever_a_client_puts_them(
    formatter: type[JsonFormatter | TextFormatter], credential: str
) -> None:
    path = f"/api/keys/{credential}"
    line = formatter(()).format(record(f"DELETE {path} 404", path=path, ms=1.0))
    assert credential not in line
    assert credential[-10:] not in line
    assert "DELETE /api/keys/[secret] 404" in line


def test_json_log_line_has_the_traceback_on_one_line() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError as exc:
        trouble = (type(exc), exc, exc.__traceback__)
    line = JsonFormatter(()).format(record("failed", exc_info=trouble))
    assert "\n" not in line
    assert "Traceback" in json.loads(line)["exception"]


def test_loggers_of_client_libraries_are_limited_to_warnings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = logging.getLogger().handlers[:]
    try:
        configure_logging("INFO", "json")
        logging.getLogger("pinecone.x").info("Searching namespace")
        logging.getLogger("service.x").info("ours")
        lines = capsys.readouterr().err.splitlines()
    finally:
        logging.getLogger().handlers[:] = before
    assert [json.loads(line)["message"] for line in lines] == ["ours"]


FORGED = "a\n12:00:00.000 GET /admin 200\x1b[2J\x9b31m\u202e\u2028end"


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
def test_log_line_escapes_unprintable_characters_of_every_value(
    formatter: type[JsonFormatter | TextFormatter],
) -> None:
    line = formatter(()).format(record(FORGED, ms=1.0, namespace=FORGED, key_name=FORGED))
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    if formatter is JsonFormatter:
        assert json.loads(line)["namespace"] == FORGED


@pytest.mark.parametrize("value", ["\ud800", 2**70])
def test_json_log_line_of_values_that_orjson_refuses(value: object) -> None:
    assert json.loads(JsonFormatter(()).format(record("x", value=value)))["value"] == value


def test_text_log_line_indents_the_traceback() -> None:
    try:
        raise ValueError("a\n12:00:00.000 forged\x1b[2J")
    except ValueError as exc:
        trouble = (type(exc), exc, exc.__traceback__)
    first, *others = TextFormatter(()).format(record("failed", exc_info=trouble)).splitlines()
    assert first.endswith("failed")
    assert all(line.startswith("  ") and line.isprintable() for line in others)
    assert any("forged" in line for line in others)


def test_text_log_line_has_no_detail_that_a_value_has_forged() -> None:
    token = request_id_var.set("r-1")
    try:
        line = TextFormatter(()).format(record("GET /x", ms=1.0, key_name="app request=forged"))
    finally:
        request_id_var.reset(token)
    assert line.endswith('key="app request=forged" request=r-1')


def test_text_log_line_of_a_request_has_its_details() -> None:
    tokens = request_id_var.set("r-1"), trace_id_var.set("t-1")
    try:
        fields = {"ms": 1.25, "namespace": "books", "key_name": "shop"}
        line = TextFormatter(()).format(record("GET /x 200", **fields))
    finally:
        request_id_var.reset(tokens[0])
        trace_id_var.reset(tokens[1])
    assert line.endswith("GET /x 200  1.2 ms  namespace=books key=shop request=r-1 trace=t-1")
