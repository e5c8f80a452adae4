"""The service for other ASGI servers: `uvicorn service.asgi:app`, `hypercorn service.asgi:app`.

Importing it reads no settings and opens nothing: that happens when the server starts the
application. docs/deployment.md says what such a server lacks that `cascade serve` has.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import NoReturn

from hypercorn.utils import LifespanFailureError
from quart import Quart

from service.app import create_app
from service.errors import StartupFailed
from service.keys.keys import keys_file
from service.logs import configure_logging
from service.settings import Settings, load_settings, unknown_variables
from service.startup import log_start
from service.web.asgi import Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

ENV_FILE = Path(".env")
STARTUP_FAILED = "lifespan.startup.failed"


class LazyApp:
    """Creates the application at the start of the lifespan, and passes everything on to it."""

    def __init__(self) -> None:
        self._app: Quart | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
        elif self._app is None:
            raise RuntimeError(
                "service.asgi:app needs the lifespan protocol, and this server has not started it; "
                "to mount Cascade in another application, use create_app() and running()"
            )
        else:
            await self._app(scope, receive, send)

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_log(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                policy = app.extensions["cascade.policy"]
                await log_start(
                    settings, app.extensions["cascade"], requires_key=policy.requires_key
                )
            try:
                await send(message)
            except LifespanFailureError:
                _exit(f"cascade: {message['message']}")

        try:
            settings = _configure()
            self._app = app = create_app(settings)
        except StartupFailed as exc:
            await send_and_log({"type": STARTUP_FAILED, "message": exc.detail})
            return
        except Exception as exc:  # servers would go on without the lifespan
            logger.exception("the service can't start")
            await send_and_log({"type": STARTUP_FAILED, "message": repr(exc)})
            return
        await app(scope, receive, send_and_log)


def _exit(sentence: str) -> NoReturn:
    """End Hypercorn's process with one line; it would print three tracebacks."""
    task = asyncio.current_task()
    assert task is not None, "the lifespan runs in a task"  # noqa: S101
    task.add_done_callback(asyncio.Task.exception)  # or asyncio would log the exit as an error
    raise SystemExit(sentence)


def _configure() -> Settings:
    """Read the settings, set up the log, and warn of what may be a mistake."""
    settings = load_settings(ENV_FILE)
    configure_logging(settings.log_level, settings.log_format, settings.secrets)
    logging.getLogger("hypercorn").propagate = False  # it writes its lines itself
    for sentence in unknown_variables({name.upper() for name in Settings.model_fields}, ENV_FILE):
        logger.warning("%s", sentence)
    if not settings.service_keys and not keys_file(settings.data_dir).exists():
        logger.warning(
            "There are no API keys: anyone who can connect to this server can search and export "
            "every record. Set SERVICE_API_KEYS, unless it listens on this machine only"
        )
    return settings


app = LazyApp()
