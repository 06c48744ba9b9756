"""Names what blocks the event loop: a thread that looks on, since the loop itself cannot."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback

logger = logging.getLogger(__name__)

_BEAT_SECONDS = 0.5
_BLOCKED_SECONDS = 1.0


class Watchdog:
    """Logs a warning, with the job and the place in its handler, when the loop does not turn for a second."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._last_beat = time.monotonic()
        self._stopped = threading.Event()
        self._timer = self._loop.call_soon(self._beat)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()
        self._timer.cancel()

    def _beat(self) -> None:
        self._last_beat = time.monotonic()
        self._timer = self._loop.call_later(_BEAT_SECONDS, self._beat)

    def _watch(self) -> None:
        warned = 0.0
        while not self._stopped.wait(_BEAT_SECONDS):
            beat = self._last_beat
            if time.monotonic() - beat > _BEAT_SECONDS + _BLOCKED_SECONDS and beat != warned:
                warned = beat
                self._warn()

    def _warn(self) -> None:
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._loop_thread)
        place = "".join(traceback.format_stack(frame, limit=3)) if frame is not None else ""
        name = task.get_name() if task is not None else "a callback"
        logger.warning("event loop is blocked by %s; every other job waits for it\n%s", name, place.rstrip())
