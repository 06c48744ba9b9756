"""`echo`: gives the payload back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..jobs.model import Model
from . import JobContext, handler


class Echo(Model):
    """Gives the payload back."""

    payload: Annotated[Any, Field(description="Any JSON value.")] = None


@handler("echo", instant=True)
def run(params: Echo, ctx: JobContext) -> dict[str, Any]:
    """Return the payload."""
    return {"taskType": "echo", "payload": params.payload}
