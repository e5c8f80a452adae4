"""The settings as one frozen object, each with its range and its meaning.

The documentation's table of settings is generated from the descriptions. Every error names the
setting as a person would type it, says what is allowed, and never repeats the value.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.errors import StartupFailed
from service.settings.fields import (
    DatabaseUrl,
    Host,
    HostNames,
    Key,
    Keys,
    Namespace,
    Networks,
    Origins,
    RedisUrl,
    Text,
)
from service.settings.files import read_settings_files

Backend = Literal["pinecone", "embedded"]

MIN_REDACTED_LENGTH = 6  # a shorter password may be a word that log lines need


class Settings(BaseSettings):
    """One attribute per setting; the environment variable is its name in upper case."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    # The server
    host: str = Field(min_length=1)
    """Address to listen on."""
    port: int = Field(ge=0, le=65535)
    """Port to listen on; `0` picks a free one."""
    web_concurrency: int = Field(ge=1, le=64)
    """Worker processes that share the port; the embedded engine always runs in one."""
    trusted_proxy_hops: int = Field(ge=0, le=16)
    """Number of proxies in front whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted."""
    max_body_bytes: int = Field(ge=1024, le=2**30)
    """Largest request body of a search, in bytes."""
    max_records_body_bytes: int = Field(ge=1024, le=2**30)
    """Largest request body of a record write, in bytes."""
    max_answer_bytes: int = Field(ge=65_536, le=2**30)
    """Largest answer of a search, in bytes; a larger one is an error that names `top_k` and
    `fields`."""
    body_timeout_s: float = Field(gt=0, le=600)
    """Seconds in which a request body must arrive; an upload may take longer while it brings at
    least 1 kB per second."""
    max_in_flight: int = Field(ge=1, le=16_384)
    """Most requests that a process works on at once; it lowers the number itself when it is
    overloaded."""
    max_waiting: int = Field(ge=0, le=16_384)
    """Most requests that wait in the queue; further ones get `503` with `Retry-After`."""
    max_transfers: int = Field(ge=1, le=1024)
    """Most uploads of imports at once in a process, and as many exports."""
    service_api_keys: Keys = None
    """API keys with all rights, separated by commas, each of at least 16 characters; without any
    key, writes are accepted only over loopback."""
    rate_limit: Text = None
    """Most requests of an API key that has no limit of its own, such as `5/s`, `100/m` or
    `5/s burst=20`; without it, there is no limit."""
    rate_limit_anonymous: Text = None
    """The same for each client address, if the service has no API keys."""
    allowed_origins: Origins = None
    """Web origins whose pages may use the service from a browser (CORS and the WebSocket),
    separated by commas, such as `https://shop.example.org`. `*` is any; without API keys, a service
    that listens on loopback accepts only those that are named."""
    allowed_hosts: HostNames = None
    """Host names under which the service is reached, separated by commas, such as
    `search.example.org`; requests under others are refused, except those of loopback. Without it,
    every name is accepted if there are API keys or `HOST` is not loopback."""

    # Pinecone
    pinecone_api_key: Key = None
    """Pinecone API key; set it to search Pinecone, not the embedded engine."""
    pinecone_dense_index_host: Host = None
    """Host of the dense index; or set `PINECONE_DENSE_INDEX`."""
    pinecone_sparse_index_host: Host = None
    """Host of the sparse index; or set `PINECONE_SPARSE_INDEX`."""
    pinecone_dense_index: Text = None
    """Name of the dense index, resolved to its host once at start-up."""
    pinecone_sparse_index: Text = None
    """Name of the sparse index, resolved to its host once at start-up."""
    pinecone_controller_host: Host = None
    """Host of Pinecone's control plane and inference, if it is not Pinecone's own."""
    pinecone_namespace: Namespace
    """Namespace of requests that do not name one."""
    pinecone_top_k: int = Field(ge=1, le=10_000)
    """Number of results of requests that do not set `top_k`."""
    pinecone_dialect: Literal["auto", "records", "documents"]
    """Kind of the indexes: `records` (integrated embedding) or `documents`; `auto` asks Pinecone
    about indexes given by name, and is `records` for those given by host."""
    pinecone_text_field: str = Field(min_length=1)
    """Field that holds the text of a record."""
    pinecone_dense_field: Text = None
    """Document indexes: field of the semantic search; without it, the text field."""
    pinecone_sparse_field: Text = None
    """Document indexes: field of the lexical search; without it, the text field."""
    pinecone_sparse_clause: Literal["sparse_embed", "text"]
    """Document indexes given by host: search the sparse field by sparse embedding (`sparse_embed`)
    or as full text with BM25 (`text`)."""
    pinecone_rerank_model: str = Field(min_length=1)
    """Reranking model of Pinecone, such as `bge-reranker-v2-m3` or `pinecone-rerank-v0`."""
    pinecone_lanes: int = Field(ge=1, le=256)
    """Lanes per index: clients, each with its own connections."""
    pinecone_lane_calls: int = Field(ge=1, le=1024)
    """Most calls in flight on one lane."""

    # The embedded engine
    data_dir: str = Field(min_length=1)
    """Directory of the embedded engine's records, and of imports in progress."""
    embedder: str = Field(min_length=1)
    """Embedding model of the embedded engine: `wordllama`, `model2vec:…` or
    `sentence-transformers:…`."""
    reranker: str = Field(min_length=1)
    """Reranker of the embedded engine: `builtin`, `none` or `sentence-transformers:…`."""
    text_language: str = Field(min_length=1)
    """Language of the embedded engine's stemming and stop words, such as `en`."""
    load_samples: bool
    """Whether to load sample records into an empty embedded index at start-up."""

    # Search
    search_timeout_ms: int = Field(ge=1)
    """Deadline of searches that do not set `timeout_ms`, in milliseconds."""
    search_timeout_max_ms: int = Field(ge=1)
    """Longest `timeout_ms` that a search may ask for, in milliseconds."""
    search_fusion: Literal["z-score", "min-max", "rrf"]
    """How a cascade combines the scores of its legs, unless the request says."""
    search_lexical_weight: float | None = Field(None, ge=0, le=1)
    """Weight of the lexical leg in a cascade, the semantic leg has the rest; without it, 0.55 on
    the embedded engine and 0.5 with Pinecone."""
    search_depth: int = Field(ge=0, le=1000)
    """Least number of candidates that each leg retrieves; `0` leaves it to the backend."""
    cache_ttl: float = Field(ge=0, le=86_400)
    """Seconds for which an answer is cached; `0` turns the cache off."""
    cache_max_bytes: int = Field(ge=2**20, le=2**40)
    """Memory for cached answers and rankings, in bytes."""
    cursor_ttl: float = Field(gt=0, le=86_400)
    """Seconds for which a `cursor` is valid."""
    redis_url: RedisUrl = None
    """Redis in which several processes share cached answers, rankings and rate limits: `redis://…`,
    `rediss://…` or `unix://…`; without it, each process has its memory."""
    typing_pause_ms: int = Field(ge=0, le=5_000)
    """Milliseconds without a newer query after which search as you type searches."""

    # Records and imports
    records_timeout_ms: int = Field(ge=1)
    """Deadline of a read or write of records, retries included, in milliseconds."""
    upserts_at_once: int = Field(ge=1, le=256)
    """Most calls to the backend that write, over all requests."""
    database_url: DatabaseUrl = None
    """PostgreSQL database of the import jobs and of the API keys: `postgresql://…`; without it,
    SQLite in `DATA_DIR`."""
    max_import_bytes: int = Field(ge=1024, le=2**44)
    """Largest upload of an import, in bytes."""
    import_batches_at_once: int = Field(ge=1, le=64)
    """Most batches of an import in flight; fewer after the backend's rate limit."""

    # Operations
    startup_timeout_s: float = Field(gt=0, le=300)
    """Seconds in which the service must be ready to serve."""
    drain_timeout_s: float = Field(gt=0, le=300)
    """Seconds that requests in flight have after SIGTERM."""
    metrics_key: Keys = None
    """Key that a caller of `/metrics` presents, of at least 16 characters; without it, `/metrics`
    answers only callers on the same machine and those of `METRICS_ALLOWED_IPS`."""
    metrics_allowed_ips: Networks = None
    """Addresses and networks that may read `/metrics`, besides the same machine, separated by
    commas, such as `10.0.0.0/8`; with `METRICS_KEY`, a caller also needs the key."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    """Least severe level that is logged."""
    log_format: Literal["auto", "text", "json"]
    """Format of log lines; `auto` is `text` on a terminal and `json` elsewhere."""
    log_queries: bool
    """Whether log lines have the text of queries, which may be personal."""
    audit_log: Text = None
    """File to which writes, exports, key changes and refused requests are recorded, as JSON lines;
    without it, they are part of the log."""

    @property
    def backend(self) -> Backend:
        """Pinecone if it is configured, the embedded engine otherwise."""
        return "pinecone" if self.pinecone_api_key else "embedded"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values to redact from every log line."""
        key = self.pinecone_api_key
        own = (key.get_secret_value(),) if key else ()
        urls = (*_url_secrets(self.redis_url), *_url_secrets(self.database_url))
        return (*own, *self.service_keys, *self.metrics_keys, *urls)

    @property
    def origins(self) -> frozenset[str]:
        """The origins of ALLOWED_ORIGINS."""
        return frozenset((self.allowed_origins or "").split(",")) - {""}

    @property
    def hosts(self) -> frozenset[str]:
        """The names of ALLOWED_HOSTS, in lower case."""
        return frozenset((self.allowed_hosts or "").split(",")) - {""}

    @property
    def service_keys(self) -> tuple[str, ...]:
        """The keys of SERVICE_API_KEYS."""
        return _separated(self.service_api_keys)

    @property
    def metrics_keys(self) -> tuple[str, ...]:
        """The keys of METRICS_KEY: two are valid while one replaces the other."""
        return _separated(self.metrics_key)

    @property
    def metrics_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of METRICS_ALLOWED_IPS."""
        names = (self.metrics_allowed_ips or "").split(",")
        return tuple(ip_network(name, strict=False) for name in names if name)

    @model_validator(mode="after")
    def _check_pinecone_is_complete(self) -> Settings:
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
                raise ValueError(f"{host} and {name} are both set; set one of them")
        if missing:
            raise ValueError(
                f"Pinecone is only partly configured: {' and '.join(missing)} missing. "
                "Set what is missing, or unset the other PINECONE_* index settings and the key"
            )
        return self

    @model_validator(mode="after")
    def _check_timeouts(self) -> Settings:
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
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = read_settings_files(cls.model_fields)
        from_files = [InitSettingsSource(settings_cls, values) for values in files]
        return (init_settings, env_settings, dotenv_settings, *from_files)


def load_settings(env_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings, or raise `StartupFailed` with one line that says what to change."""
    try:
        return Settings(_env_file=env_file, **overrides)
    except ValidationError as exc:
        raise StartupFailed("; ".join(_describe(error) for error in exc.errors())) from None
    except UnicodeDecodeError:
        raise StartupFailed(f"{env_file} is not UTF-8; save it as UTF-8") from None
    except OSError as exc:
        raise StartupFailed(f"{env_file} can't be read: {exc.strerror}") from None


def _separated(keys: SecretStr | None) -> tuple[str, ...]:
    return tuple(keys.get_secret_value().split(",")) if keys else ()


def _url_secrets(url: SecretStr | None) -> tuple[str, ...]:
    """A URL and its password, both as written and percent-decoded."""
    if url is None:
        return ()
    password = urlsplit(url.get_secret_value()).password or ""
    forms = (url.get_secret_value(), password, unquote(password))
    return tuple(form for form in forms if len(form) >= MIN_REDACTED_LENGTH)


def _describe(error: Any) -> str:
    """One pydantic error, with the name of the setting in front."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    return f"{str(error['loc'][0]).upper()}: {message[:1].lower()}{message[1:]}"
