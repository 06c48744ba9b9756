"""The only wiring: run → store → registry → rows → web application. Start and stop are checklists."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
from typing import TYPE_CHECKING, Any

from aiohttp import web

from . import __version__
from .actor.rows import RowWriter
from .actor.run import LocalRun, Run
from .errors import StartError
from .handlers.catalog import Catalog, load_catalog
from .handlers.context import Resources
from .jobs.dispatcher import Limits
from .jobs.metrics import Metrics, Reading
from .jobs.registry import JobRegistry
from .jobs.retention import Retention
from .jobs.watchdog import Watchdog
from .outbound.session import open_session, undecoded
from .outbound.webhooks import Webhooks
from .settings import Settings, load_settings
from .web.apify_api import deliveries
from .web.apify_api.run_model import Surroundings
from .web.app import build_app
from .web.backend import Backend
from .web.middlewares import AccessLogger
from .web.presets import Presets
from .web.protocol import ProblemRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .environment import Environment

logger = logging.getLogger(__name__)

_BACKLOG = 4096
_YOUNG_OBJECTS = 20_000
"""The garbage collector looks for cycles each time so many more objects live; a job makes some forty, and no cycle."""

_KEEP_ALIVE_SECONDS = 75.0
_ATTEMPT_SECONDS = 3.0
"""How long attempts of webhooks may still take at the stop; the next start makes them again."""

_LINGER_SECONDS = 2.0
"""How long connections may take at the end: waiters were answered before, so they are slow readers or writers."""

_FLUSH_SECONDS = 10.0
"""How long the last rows and charges may take at the stop; what is left is worked off after the next start."""


class Service:
    """One endpoint over one run."""

    def __init__(self, run: Run, settings: Settings, environment: Environment) -> None:
        self._run = run
        self._settings = settings
        self._environment = environment
        self._hurry = asyncio.Event()
        self._catalog: Catalog = load_catalog(environment.handler_modules, settings)
        self._presets = Presets(settings.presets, self._catalog.parse, self._catalog.takes_payload)
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Come up: listen first, be ready last."""
        raise_open_file_limit()
        self._backend = Backend(self._settings, self._environment, self._catalog, Metrics())
        self._backend.presets = self._presets
        self._runner = ProblemRunner(
            build_app(self._backend),
            access_log_class=AccessLogger,
            access_log=logging.getLogger("async_endpoint.access"),
            handler_cancellation=True,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            shutdown_timeout=_LINGER_SECONDS,
        )
        await self._runner.setup()
        await self._listen()
        await self._open_jobs()
        self._watchdog = Watchdog()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS)
        self._backend.ready = True
        self._announce()

    async def stop(self) -> None:
        """Go down: nothing new, answer everybody, let jobs end, write what is owed, close."""
        logger.info(
            "stopping: no new jobs, %d running, %d queued", self._registry.running, self._registry.queued
        )
        await self._registry.drain(self._run.grace, self._hurry)
        await asyncio.gather(_in_time(self._rows.flush()), _in_time(self._run.flush()))
        await self._webhooks.stop(_ATTEMPT_SECONDS)
        await self._cancel_background()
        await self._session.close()
        await self._runner.cleanup()
        await self._store.close()
        await self._run.close()
        self._watchdog.stop()
        logger.info("stopped")

    async def abandon(self) -> None:
        """Undo a start that failed."""
        await self._cancel_background()
        for name, close in (("_session", "close"), ("_runner", "cleanup"), ("_store", "close")):
            if hasattr(self, name):
                await getattr(getattr(self, name), close)()

    def hurry(self) -> None:
        """Do not wait for running jobs any longer."""
        self._hurry.set()

    async def _listen(self) -> None:
        host = self._environment.host(token_set=self._settings.access_token is not None)
        port = self._environment.port
        try:
            listener = socket.create_server((host, port), backlog=_BACKLOG, reuse_port=False)
        except OSError as exc:
            raise StartError(
                f"Cannot listen on {host}:{port}: {exc.strerror}. ACTOR_WEB_SERVER_PORT chooses another port."
            ) from exc
        self._address: tuple[str, int] = listener.getsockname()[:2]
        await web.SockSite(self._runner, listener, backlog=_BACKLOG).start()

    async def _open_jobs(self) -> None:
        settings, metrics = self._settings, self._backend.metrics
        self._store = await self._run.open_store(settings, metrics.commit_size.observe)
        self._session = open_session(
            allow_private=settings.allow_private_networks, user_agent=f"async-endpoint/{__version__}"
        )
        self._rows = RowWriter(self._store, await self._run.open_rows(self._store))
        metrics.gauges.append(
            Reading("async_endpoint_rows_pending", "Rows that are owed.", lambda: self._rows.pending)
        )
        self._webhooks = Webhooks(
            self._store,
            self._session,
            receivers=settings.webhooks,
            delays_ms=settings.webhook_retry_delays_ms,
        )
        surroundings = Surroundings(self._environment.container_url, settings.job_timeout_ms)
        deliveries.install(self._webhooks, surroundings)
        self._registry = JobRegistry(
            self._store,
            self._catalog.bind(Resources(settings, self._session, undecoded(self._session))),
            _limits(settings),
            metrics=metrics,
            outboxes=(self._webhooks,),
            observers=(self._rows, *self._run.observers),
            gate=self._run.admit,
        )
        self._backend.store, self._backend.registry = self._store, self._registry
        self._backend.webhooks = self._webhooks
        self._backend.storages = self._run.storages()
        await self._registry.start()
        await self._run.begin(self._registry)
        self._webhooks.start()
        retention = Retention(
            self._store,
            settings.retention_hours,
            settings.max_retained_jobs,
            owes=[
                lambda job: job.row > self._rows.cursor,
                lambda job: self._run.owes(job.row),
                lambda job: self._webhooks.owes(job.id),
            ],
            forget=self._registry.forget,
        )
        for name, work in (("rows", self._rows.run()), ("retention", retention.run())):
            self._background.append(asyncio.create_task(work, name=name))

    async def _cancel_background(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def _announce(self) -> None:
        host, port = self._address
        name = "localhost" if host in ("0.0.0.0", "127.0.0.1") else host  # noqa: S104 - not a bind
        key = " -H 'X-Api-Key: '\"$TOKEN\"" if self._settings.access_token is not None else ""
        logger.info(
            "listening on http://%s:%d - try: curl -s http://%s:%d/run-and-wait%s "
            """-H 'Content-Type: application/json' -d '{"type":"echo","payload":"hello"}'""",
            host,
            port,
            name,
            port,
            key,
        )


async def serve(environment: Environment) -> None:
    """Run until a signal, or the run, asks for the end; raises StartError when it cannot start."""
    run = _run(environment)
    try:
        service = Service(run, load_settings(await run.input()), environment)
        _handle_signals(run.stop, service.hurry)
        try:
            await service.start()
        except BaseException:
            await service.abandon()
            raise
    except StartError as exc:
        await run.fail(str(exc))
        raise
    await run.stop.wait()
    await service.stop()


async def _in_time(work: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(work, _FLUSH_SECONDS)


def _run(environment: Environment) -> Run:
    if not environment.on_platform:
        return LocalRun(environment)
    from .actor.platform import PlatformRun  # the Apify SDK takes a second to load

    return PlatformRun(environment)


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.max_concurrent_tasks,
        settings.max_queued_tasks,
        settings.max_result_bytes,
        settings.job_timeout_ms,
    )


def _handle_signals(stop: asyncio.Event, hurry: Callable[[], None]) -> None:
    """The first signal stops, the second one hurries."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            hurry()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)


def raise_open_file_limit() -> None:
    """Let as many connections in as the system allows; the soft limit is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
