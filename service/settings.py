"""The settings: environment over .env over a profile over config/defaults.toml, read once.

Knows nothing of what the settings are for. Whatever is wrong with them ends in one `StartupFailed`
whose line names the setting, as a person would have to type it, and what is allowed.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.errors import StartupFailed

CONFIG_DIR = Path(__file__).parent.parent / "config"

Backend = Literal["pinecone", "embedded"]


def _blank_is_unset(value: str | None) -> str | None:
    return value.strip() or None if value else None


def _host(value: str | None) -> str | None:
    value = _blank_is_unset(value)
    if value and not re.fullmatch(
        r"(https?://)?([\w.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?(/[^\s?#]*)?", value
    ):
        raise ValueError("this is no host, such as https://articles-abc123.svc.pinecone.io")
    return value


Host = Annotated[str | None, AfterValidator(_host)]
Text = Annotated[str | None, AfterValidator(_blank_is_unset)]


def check_namespace(value: str) -> str:
    """A strict alphabet: a namespace becomes a segment of a URL's path."""
    if not re.fullmatch(r"[A-Za-z0-9_.:@#=+~-]{1,512}", value) or value in {".", ".."}:
        raise ValueError("a namespace has 1 to 512 characters out of A-Z a-z 0-9 _ . : @ # = + ~ -")
    return value


Namespace = Annotated[str, AfterValidator(check_namespace)]


def _header_safe(value: SecretStr | None) -> SecretStr | None:
    key = value.get_secret_value().strip() if value else ""
    if not key:
        return None
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ValueError("a key has no spaces, line breaks or characters outside of ASCII")
    return SecretStr(key)


Key = Annotated[SecretStr | None, AfterValidator(_header_safe)]


MIN_KEY = 16


def _keys(value: SecretStr | None) -> SecretStr | None:
    """Several keys, separated by commas, so that one can replace another without a pause."""
    given = value.get_secret_value().strip() if value else ""
    if not given:
        return None
    keys = [key.strip() for key in given.split(",")]
    if not all(re.fullmatch(r"[\x21-\x7e]+", key) and len(key) >= MIN_KEY for key in keys):
        raise ValueError(
            f"each key has at least {MIN_KEY} characters, none of them a space, a line break or "
            "outside of ASCII; keys are separated by commas"
        )
    return SecretStr(",".join(keys))


Keys = Annotated[SecretStr | None, AfterValidator(_keys)]


def _redis_url(value: SecretStr | None) -> SecretStr | None:
    """It may hold a password, so that what is wrong with it is said without repeating it."""
    url = value.get_secret_value().strip() if value else ""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it raises where it is none
        whole = bool(parts.path if parts.scheme == "unix" else parts.hostname)
    except ValueError:
        whole = False
    if not whole or parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError(
            "this is no address of a Redis, such as redis://:password@host:6379/0, rediss://… "
            "for TLS, or unix:///path/to/socket"
        )
    return SecretStr(url)


MIN_BLOTTED = 6
RedisUrl = Annotated[SecretStr | None, AfterValidator(_redis_url)]


def _database_url(value: SecretStr | None) -> SecretStr | None:
    """It holds a password, as a rule, so that it is never repeated either."""
    url = value.get_secret_value().strip() if value else ""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it raises where it is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise ValueError(
            "this is no address of a PostgreSQL database, such as "
            "postgresql://user:password@host:5432/database"
        )
    return SecretStr(url)


DatabaseUrl = Annotated[SecretStr | None, AfterValidator(_database_url)]


def _origins(value: str | None) -> str | None:
    """Several origins, separated by commas, as a browser writes them."""
    origins = [origin.strip() for origin in (value or "").split(",") if origin.strip()]
    for origin in origins:
        if not re.fullmatch(r"https?://([\w.-]+|\[[0-9a-f:]+\])(:\d{1,5})?", origin):
            raise ValueError(
                f"{origin!r} is no origin, such as https://shop.example.org; "
                "several are separated by commas"
            )
    return ",".join(origins) or None


Origins = Annotated[str | None, AfterValidator(_origins)]


class Settings(BaseSettings):
    """One attribute per setting; the environment variable is its name in upper case."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    host: str = Field(min_length=1)
    port: int = Field(ge=0, le=65535)
    web_concurrency: int = Field(ge=1, le=64)
    trusted_proxy_hops: int = Field(ge=0, le=16)
    max_body_bytes: int = Field(ge=1024, le=2**30)
    max_records_body_bytes: int = Field(ge=1024, le=2**30)
    body_timeout_s: float = Field(gt=0, le=600)
    max_in_flight: int = Field(ge=1, le=16_384)
    max_waiting: int = Field(ge=0, le=16_384)
    max_transfers: int = Field(ge=1, le=1024)
    service_api_keys: Keys = None
    allowed_origins: Origins = None

    pinecone_api_key: Key = None
    pinecone_dense_index_host: Host = None
    pinecone_sparse_index_host: Host = None
    pinecone_dense_index: Text = None
    pinecone_sparse_index: Text = None
    pinecone_controller_host: Host = None
    pinecone_namespace: Namespace
    pinecone_top_k: int = Field(ge=1, le=10_000)
    pinecone_dialect: Literal["auto", "records", "documents"]
    pinecone_text_field: str = Field(min_length=1)
    pinecone_dense_field: Text = None
    pinecone_sparse_field: Text = None
    pinecone_sparse_clause: Literal["sparse_embed", "text"]
    pinecone_rerank_model: str = Field(min_length=1)
    pinecone_lanes: int = Field(ge=1, le=256)
    pinecone_lane_calls: int = Field(ge=1, le=1024)

    data_dir: str = Field(min_length=1)
    embedder: str = Field(min_length=1)
    reranker: str = Field(min_length=1)
    text_language: str = Field(min_length=1)
    load_samples: bool

    search_timeout_ms: int = Field(ge=1)
    search_timeout_max_ms: int = Field(ge=1)
    search_fusion: Literal["z-score", "min-max", "rrf"]
    search_lexical_weight: float | None = Field(None, ge=0, le=1)
    search_depth: int = Field(ge=0, le=1000)
    cache_ttl: float = Field(ge=0, le=86_400)
    cache_max_bytes: int = Field(ge=2**20, le=2**40)
    cursor_ttl: float = Field(gt=0, le=86_400)
    redis_url: RedisUrl = None
    records_timeout_ms: int = Field(ge=1)
    upserts_at_once: int = Field(ge=1, le=256)
    database_url: DatabaseUrl = None
    max_import_bytes: int = Field(ge=1024, le=2**44)
    import_batches_at_once: int = Field(ge=1, le=64)
    typing_pause_ms: int = Field(ge=0, le=5_000)

    startup_timeout_s: float = Field(gt=0, le=300)
    drain_timeout_s: float = Field(gt=0, le=300)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    log_format: Literal["auto", "text", "json"]

    @property
    def backend(self) -> Backend:
        """Pinecone where it is configured, which is then whole; the embedded engine otherwise."""
        return "pinecone" if self.pinecone_api_key else "embedded"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must never be seen in a log."""
        key = self.pinecone_api_key
        own = (key.get_secret_value(),) if key else ()
        urls = (*_passwords(self.redis_url), *_passwords(self.database_url))
        return (*own, *self.service_keys, *urls)

    @property
    def origins(self) -> frozenset[str]:
        """The web pages, beside our own, that may open a WebSocket."""
        return frozenset((self.allowed_origins or "").split(",")) - {""}

    @property
    def service_keys(self) -> tuple[str, ...]:
        """The keys that callers have to present; none where SERVICE_API_KEYS is not set."""
        keys = self.service_api_keys
        return tuple(keys.get_secret_value().split(",")) if keys else ()

    @model_validator(mode="after")
    def _pinecone_is_whole(self) -> Settings:
        given = (
            self.pinecone_api_key,
            self.pinecone_dense_index_host,
            self.pinecone_sparse_index_host,
            self.pinecone_dense_index,
            self.pinecone_sparse_index,
        )
        if not any(given):
            return self
        missing = []
        if not self.pinecone_api_key:
            missing.append("PINECONE_API_KEY")
        for kind in ("DENSE", "SPARSE"):
            host, name = f"PINECONE_{kind}_INDEX_HOST", f"PINECONE_{kind}_INDEX"
            has_host, has_name = getattr(self, host.lower()), getattr(self, name.lower())
            if not has_host and not has_name:
                missing.append(f"{host} (or {name})")
            if has_host and has_name:
                raise ValueError(f"{host} and {name} are both set: give one of the two")
        if missing:
            raise ValueError(
                f"Pinecone is only half configured: {' and '.join(missing)} missing. "
                "Set it, or unset the other PINECONE_* index settings and the key"
            )
        return self

    @model_validator(mode="after")
    def _timeouts_agree(self) -> Settings:
        if self.search_timeout_ms > self.search_timeout_max_ms:
            raise ValueError(
                f"SEARCH_TIMEOUT_MS ({self.search_timeout_ms}) is above "
                f"SEARCH_TIMEOUT_MAX_MS ({self.search_timeout_max_ms})"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is given
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        profiles = ["heroku.toml"] if "DYNO" in os.environ else []
        files = [CONFIG_DIR / name for name in [*profiles, "defaults.toml"]]
        from_files = [InitSettingsSource(settings_cls, _read_toml(path)) for path in files]
        return (init_settings, env_settings, dotenv_settings, *from_files)


def _passwords(url: SecretStr | None) -> tuple[str, ...]:
    """The URL, and the password in it in both of its forms, if it is not as short as a word."""
    if url is None:
        return ()
    password = urlsplit(url.get_secret_value()).password or ""
    forms = (url.get_secret_value(), password, unquote(password))
    return tuple(form for form in forms if len(form) >= MIN_BLOTTED)


def load_settings(env_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings, or raise `StartupFailed` with one line that says what to change."""
    try:
        return Settings(_env_file=env_file, **overrides)
    except ValidationError as exc:
        raise StartupFailed("; ".join(_sentence(error) for error in exc.errors())) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise StartupFailed(f"{path.parent.name}/{path.name} can't be read: {exc}") from None
    if unknown := sorted(values.keys() - Settings.model_fields.keys()):
        raise StartupFailed(f"{path.parent.name}/{path.name} names unknown settings: {unknown}")
    return values


def _sentence(error: Any) -> str:
    """One pydantic error, with the setting's own name in front; values are never repeated."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    return f"{str(error['loc'][0]).upper()}: {message[:1].lower()}{message[1:]}"
