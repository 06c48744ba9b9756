"""`sleep`: ends after a while."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field

from ..jobs.model import Model, Whole
from . import JobContext, handler


class Sleep(Model):
    """Ends after a while."""

    ms: Annotated[int, Whole(0, 2**53), Field(description="How long, at most `maxSleepMs`.")]


@handler("sleep", effect_free=True)
async def run(params: Sleep, ctx: JobContext) -> dict[str, Any]:
    """Sleep and return how long it was."""
    ms = min(params.ms, ctx.settings.max_sleep_ms)
    await asyncio.sleep(ms / 1000)
    return {"taskType": "sleep", "ms": ms}
