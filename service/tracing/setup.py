"""Whether spans are recorded: as the standard OTEL_* environment variables say.

OpenTelemetry is imported only if they ask for it, and nothing is wrapped otherwise, so tracing that
is off costs nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.tracing.spans import Tracing

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
OUR_PROTOCOL = "http/protobuf"
NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
NOT_INSTALLED = (
    "no spans are recorded: OTEL_* variables ask for them, but OpenTelemetry is not installed; "
    "pip install 'cascade-search[opentelemetry]'"
)


def choose_tracing(environment: Mapping[str, str]) -> Tracing | None:
    """The tracing that the environment asks for, or None. What can't be done is a warning."""
    exporter = _exporter(environment)
    if exporter is None:
        return None
    if exporter != "otlp":
        logger.warning("no spans are recorded: OTEL_TRACES_EXPORTER has to be otlp or none")
        return None
    protocol = _first(environment, PROTOCOLS) or OUR_PROTOCOL
    if protocol != OUR_PROTOCOL:
        logger.warning("no spans are recorded: %s has to be %s", PROTOCOLS[1], OUR_PROTOCOL)
        return None
    if not all(map(_is_installed, NEEDED)):
        logger.warning(NOT_INSTALLED)
        return None
    from service.tracing.spans import Tracing  # noqa: PLC0415 - see the docstring above

    return Tracing(environment)


@contextlib.asynccontextmanager
async def opened_tracing(tracing: Tracing | None) -> AsyncIterator[None]:
    """Export spans until the end of the block."""
    if tracing is None:
        yield
        return
    tracing.open()
    try:
        yield
    finally:
        await tracing.close()


def _exporter(environment: Mapping[str, str]) -> str | None:
    """The exporter to use; an endpoint asks for `otlp`."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not exporter:
        return "otlp" if _first(environment, ENDPOINTS) else None
    return None if exporter == "none" else exporter


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next(filter(None, (environment.get(name, "").strip() for name in names)), "")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent is installed
        return False
