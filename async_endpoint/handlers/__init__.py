"""What a job can do: one module per task type, and the public way to add one.

    from pydantic import BaseModel
    from async_endpoint.handlers import JobContext, handler

    class Add(BaseModel):
        a: int
        b: int

    @handler("add")
    async def run(params: Add, ctx: JobContext) -> int:
        return params.a + params.b

Modules in this folder and those named by `ASYNC_ENDPOINT_HANDLERS` are searched for such functions.
"""

from ..errors import JobError, RetryableResult
from .context import JobContext
from .tasktype import handler

__all__ = ["JobContext", "JobError", "RetryableResult", "handler"]
