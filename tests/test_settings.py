"""Settings: precedence, validation and secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import StartupFailed
from service.settings import Settings, load_settings, unknown_variables

WHOLE = {
    "PINECONE_API_KEY": "sk-very-secret",
    "PINECONE_DENSE_INDEX_HOST": "https://dense.example",
    "PINECONE_SPARSE_INDEX_HOST": "https://sparse.example",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def failure() -> str:
    with pytest.raises(StartupFailed) as failed:
        load_settings()
    assert "\n" not in failed.value.detail
    assert "sk-very-secret" not in failed.value.detail
    return failed.value.detail


def test_settings_environment_overrides_defaults(
    environment: pytest.MonkeyPatch,
) -> None:
    assert load_settings().pinecone_top_k == 10
    environment.setenv("PINECONE_TOP_K", "25")
    environment.setenv("PORT", "9000")
    settings = load_settings()
    assert (settings.pinecone_top_k, settings.port, settings.host) == (25, 9000, "127.0.0.1")
    assert settings.backend == "pinecone"


def test_settings_without_pinecone_choose_the_embedded_backend() -> None:
    assert load_settings().backend == "embedded"


@pytest.mark.parametrize("missing", list(WHOLE))
def test_settings_name_the_missing_half_of_pinecone(
    environment: pytest.MonkeyPatch, missing: str
) -> None:
    environment.delenv(missing)
    assert f"{missing}" in failure()


def test_settings_ignore_an_empty_variable(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PINECONE_API_KEY", "")
    assert "PINECONE_API_KEY" in failure()


def test_settings_reject_host_and_name_of_one_index(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PINECONE_DENSE_INDEX", "articles")
    message = failure()
    assert "PINECONE_DENSE_INDEX_HOST and PINECONE_DENSE_INDEX" in message


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("PORT", "eighty", "integer"),
        ("PORT", "70000", "65535"),
        ("PINECONE_TOP_K", "0", "greater than or equal to 1"),
        ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO'"),
        ("PINECONE_DIALECT", "dutch", "'records'"),
        ("PINECONE_NAMESPACE", "a/../b", "namespace"),
        ("ALLOWED_ORIGINS", "https://shop.example/", "is not an origin"),
        ("ALLOWED_ORIGINS", "https://*.shop.example", "is not an origin"),
        ("SEARCH_TIMEOUT_MS", "99999999", "SEARCH_TIMEOUT_MAX_MS"),
        ("SEARCH_FUSION", "sum", "'z-score', 'min-max' or 'rrf'"),
        ("SEARCH_LEXICAL_WEIGHT", "1.5", "less than or equal to 1"),
        ("SEARCH_LEXICAL_WEIGHT", "nan", "less than or equal to 1"),
        ("CACHE_TTL", "-1", "greater than or equal to 0"),
        ("CACHE_MAX_BYTES", "1000", "greater than or equal to 1048576"),
        ("CURSOR_TTL", "0", "greater than 0"),
        ("SEARCH_DEPTH", "1001", "less than or equal to 1000"),
        ("REDIS_URL", "localhost:6379", "rediss://"),
        ("REDIS_URL", "http://localhost:6379", "the URL of a Redis server"),
        ("REDIS_URL", "redis://", "the URL of a Redis server"),
        ("REDIS_URL", "redis://localhost:70000", "the URL of a Redis server"),
        ("REDIS_URL", "redis://[::1", "the URL of a Redis server"),
        ("REDIS_URL", "unix://", "the URL of a Redis server"),
        ("SERVICE_API_KEYS", "fifteen-charact", "at least 16 characters"),
        ("SERVICE_API_KEYS", "sixteen-characte,", "at least 16 characters"),
        ("SERVICE_API_KEYS", "sixteen characters", "a space"),
        ("SERVICE_API_KEYS", "sixteen-charäcters", "ASCII"),
    ],
)
def test_settings_error_names_the_setting_and_what_is_allowed(
    environment: pytest.MonkeyPatch, name: str, value: str, hint: str
) -> None:
    environment.setenv(name, value)
    message = failure()
    assert name in message
    assert hint in message


def test_settings_use_the_heroku_profile_on_a_dyno(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DYNO", "web.1")
    settings = load_settings()
    assert (settings.host, settings.trusted_proxy_hops) == ("0.0.0.0", 1)
    environment.setenv("HOST", "127.0.0.1")
    assert load_settings().host == "127.0.0.1"


def test_settings_read_a_dotenv_file(tmp_path: Path) -> None:
    """Unknown names in it are ignored: the file may belong to other programs, too."""
    file = tmp_path / ".env"
    lines = [f"{name}={value}" for name, value in WHOLE.items()]
    file.write_text("\n".join([*lines, "SOMEONE_ELSES_KEY=1"]))
    settings = load_settings(file)
    assert settings.pinecone_dense_index_host == "https://dense.example"


@pytest.mark.parametrize("content", [b"\xff\xfeP\x00O\x00R\x00T\x00", b"HOST=caf\xe9\n"])
def test_settings_reject_a_dotenv_file_that_is_not_utf8(tmp_path: Path, content: bytes) -> None:
    """PowerShell writes UTF-16."""
    file = tmp_path / ".env"
    file.write_bytes(content)
    with pytest.raises(StartupFailed, match=r"\.env is not UTF-8; save it as UTF-8$"):
        load_settings(file)


KNOWN = {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("PINECONE_TOPK", "did you mean PINECONE_TOP_K?"),
        ("pinecone_topk", "did you mean PINECONE_TOP_K?"),
        ("PINECONE_INDEX_HOST", "did you mean PINECONE_DENSE_INDEX_HOST?"),
        ("PINECONE_ENVIRONMENT", "docs/settings.md lists them all"),
        ("SERVICE_API_KEY", "did you mean SERVICE_API_KEYS?"),
        ("SERVICE_APIKEYS", "did you mean SERVICE_API_KEYS?"),
        ("SEARCH_TIMEOUT", "did you mean SEARCH_TIMEOUT_MS?"),
        ("DATADIR", "did you mean DATA_DIR?"),
        ("LOADSAMPLES", "did you mean LOAD_SAMPLES?"),
    ],
)
def test_unknown_variables_name_the_nearest_setting(tmp_path: Path, name: str, advice: str) -> None:
    shown = f"{name.upper()} is not a setting, and is ignored; {advice}"
    assert list(unknown_variables(KNOWN, tmp_path / ".env", {name: "x"})) == [shown]
    (tmp_path / ".env").write_text(f"{name}=x\n")
    shown = shown.replace(" is not", " (in .env) is not")
    assert list(unknown_variables(KNOWN, tmp_path / ".env", {})) == [shown]


def test_unknown_variables_leave_out_names_of_other_programs(tmp_path: Path) -> None:
    others = (
        "PATH HOME HOSTNAME GHOST PORTS SHELL LANG LC_ALL USER PWD TERM EDITOR VISUAL DISPLAY "
        "XDG_DATA_DIRS XDG_DATA_HOME PGDATA PGPORT PGHOST HEROKU_APP_NAME DYNO DYNO_RAM "
        "TEST_DATABASE_URL REDIS_TLS_URL LOGNAME CACHE_DIR KUBERNETES_PORT SSH_CLIENT VIRTUAL_ENV "
        "DB_PORT DB_HOST APP_HOST HTTP_PORT SERVICE_NAME SERVICE_PORT TEXT LANGUAGE NLS_LANG "
        "OPENAI_API_KEY COHERE_API_KEY PYTHONPATH PINECONE_DEBUG"
    )
    environment = dict.fromkeys([*others.split(), *KNOWN], "x")
    assert list(unknown_variables(KNOWN, tmp_path / ".env", environment)) == []
    environment = dict.fromkeys(others.split(), "x")
    assert list(unknown_variables(KNOWN, tmp_path / ".env", environment)) == []


def test_unknown_variables_leave_out_one_beside_the_right_name(tmp_path: Path) -> None:
    """A program next to this one may use the similar name."""
    environment = {"LOGLEVEL": "1", "LOG_LEVEL": "INFO"}
    assert list(unknown_variables(KNOWN, tmp_path / ".env", environment)) == []
    assert len(list(unknown_variables(KNOWN, tmp_path / ".env", {"LOGLEVEL": "1"}))) == 1


def test_settings_repr_hides_the_pinecone_key(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert "sk-very-secret" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_settings_service_keys_are_a_list_of_secrets(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SERVICE_API_KEYS", " the-first-of-the-keys , the-second-of-the-keys ")
    settings = load_settings()
    assert settings.service_keys == ("the-first-of-the-keys", "the-second-of-the-keys")
    assert set(settings.service_keys) < set(settings.secrets)
    assert "of-the-keys" not in repr(settings) + str(settings) + settings.model_dump_json()
    environment.setenv("SERVICE_API_KEYS", "short")
    assert "short" not in failure().replace("SERVICE_API_KEYS", "")


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://:a%20pass-word@h:6379/0", "rediss://u:a%20pass-word@h:1?x=y"]
)
def test_settings_redis_url_and_password_are_secrets(
    environment: pytest.MonkeyPatch, url: str
) -> None:
    environment.setenv("REDIS_URL", url)
    settings = load_settings()
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url
    assert url in settings.secrets
    assert ("a pass-word" in settings.secrets) == ("a%20pass-word" in settings.secrets)
    assert ("a pass-word" in settings.secrets) == ("pass-word" in url)
    assert url not in repr(settings) + str(settings) + settings.model_dump_json()
    environment.setenv("REDIS_URL", url.replace("redis", "ftp"))
    assert "pass-word" not in failure()


def test_settings_origins_are_written_as_browsers_send_them(
    environment: pytest.MonkeyPatch,
) -> None:
    given = "https://Shop.example:443, http://[::1]:80,http://a.example:8080, *"
    environment.setenv("ALLOWED_ORIGINS", given)
    assert load_settings().origins == {
        "https://shop.example", "http://[::1]", "http://a.example:8080", "*",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_setting_has_a_description(name: str) -> None:
    assert (Settings.model_fields[name].description or "").endswith(".")
