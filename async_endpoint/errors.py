"""What can go wrong, one class per case.

A class's docstring is its default message. `status` is the HTTP answer, `code` its stable name for programs.

    StartError                      the process ends with exit code 1
    ├── SettingsError
    └── StoreError
    ServiceError                    becomes an HTTP answer (RFC 9457 problem)
    ├── BadRequest                  400
    │   ├── InvalidTask
    │   ├── InvalidBatch
    │   └── CredentialsDiffer
    ├── Unauthorized                401
    ├── InvalidSignature            401
    ├── CostLimitReached            402
    ├── Forbidden                   403
    │   ├── FetchDisabled
    │   ├── ForeignOrigin
    │   └── ForeignHost
    ├── NotFound                    404
    │   ├── JobNotFound
    │   ├── PresetNotFound
    │   └── DeliveryNotFound
    ├── MethodNotAllowed            405
    ├── BodyTooSlow                 408
    ├── JobNotFinished              409
    ├── BodyTooLarge                413
    ├── UnsupportedMediaType        415
    ├── ExpectationFailed           417
    ├── IdempotencyConflict         422
    ├── QueueFull                   429
    └── Unavailable                 503
        ├── Starting
        ├── Draining
        └── StoreUnavailable
    JobError                        raised by a handler: the attempt failed
    RetryableResult                 raised by a handler: a result that is worth another attempt
"""

from __future__ import annotations

from typing import Any, ClassVar, TypedDict


class FieldError(TypedDict):
    """One fault of a request body: where (`path`, such as `options.retry.factor`) and what (`message`)."""

    path: str
    message: str


class StartError(Exception):
    """The service cannot start."""


class SettingsError(StartError):
    """A setting is not valid; the message has one line per bad field."""


class StoreError(StartError):
    """The store cannot be opened."""


class ServiceError(Exception):
    """The service could not answer this request."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal Server Error"

    def __init__(self, detail: str | None = None, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail or self.__doc__)
        self.headers = headers or {}

    @property
    def detail(self) -> str:
        """What was wrong, and what would be right, for a person."""
        return str(self)

    def members(self) -> dict[str, Any]:
        """Further members of the problem document."""
        return {}


class BadRequest(ServiceError):
    """The request is malformed."""

    status, code, title = 400, "bad-request", "Bad Request"


class InvalidTask(BadRequest):
    """The task is not valid."""

    code = "invalid-task"

    def __init__(self, detail: str | None = None, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []

    def members(self) -> dict[str, Any]:
        """`errors`: every fault with its path."""
        return {"errors": self.errors}


class InvalidBatch(InvalidTask):
    """The batch is not valid; none of its tasks was accepted."""

    code = "invalid-batch"


class CredentialsDiffer(BadRequest):
    """The Authorization header and the token parameter differ; send one of them."""

    code = "credentials-differ"


class Unauthorized(ServiceError):
    """Send the access token as 'Authorization: Bearer …', as 'X-Api-Key: …' or as '?token=…'."""

    status, code, title = 401, "unauthorized", "Unauthorized"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class InvalidSignature(ServiceError):
    """The signature of this webhook is missing or wrong."""

    status, code, title = 401, "invalid-signature", "Unauthorized"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Signature"})


class CostLimitReached(ServiceError):
    """The run has reached the cost limit that its user set, so it accepts no more jobs."""

    status, code, title = 402, "cost-limit-reached", "Payment Required"


class Forbidden(ServiceError):
    """This is not allowed."""

    status, code, title = 403, "forbidden", "Forbidden"


class FetchDisabled(Forbidden):
    """Fetch tasks are off; the setting allowFetchTasks turns them on."""

    code = "fetch-disabled"


class ForeignOrigin(Forbidden):
    """Requests from web pages of other origins are refused while no access token is set."""

    code = "foreign-origin"


class ForeignHost(Forbidden):
    """Without an access token only localhost is served; set accessToken to use another host name."""

    code = "foreign-host"


class NotFound(ServiceError):
    """There is nothing at this path; GET / lists the routes."""

    status, code, title = 404, "not-found", "Not Found"


class JobNotFound(NotFound):
    """There is no job with this id; it may be older than the retention settings keep it."""

    code = "job-not-found"


class PresetNotFound(NotFound):
    """There is no preset of this name; GET / lists them."""

    code = "preset-not-found"


class DeliveryNotFound(NotFound):
    """This job has no webhook delivery with this id."""

    code = "delivery-not-found"


class MethodNotAllowed(ServiceError):
    """This path does not take this method; the Allow header lists those it takes."""

    status, code, title = 405, "method-not-allowed", "Method Not Allowed"


class BodyTooSlow(ServiceError):
    """The request body did not arrive in time."""

    status, code, title = 408, "body-too-slow", "Request Timeout"


class JobNotFinished(ServiceError):
    """The job has not ended yet; only an ended job can be replayed."""

    status, code, title = 409, "job-not-finished", "Conflict"


class BodyTooLarge(ServiceError):
    """The request body is larger than the setting maxBodyBytes allows."""

    status, code, title = 413, "body-too-large", "Content Too Large"


class ExpectationFailed(ServiceError):
    """The header Expect asks for something unknown; leave it out, or send '100-continue'."""

    status, code, title = 417, "expectation-failed", "Expectation Failed"


class UnsupportedMediaType(ServiceError):
    """Send the body as JSON, with the header 'Content-Type: application/json'."""

    status, code, title = 415, "unsupported-media-type", "Unsupported Media Type"


class IdempotencyConflict(ServiceError):
    """This Idempotency-Key was used for another task; use a new key for a new task."""

    status, code, title = 422, "idempotency-conflict", "Unprocessable Content"


class Retryable(ServiceError):
    """The request may succeed later."""

    def __init__(self, detail: str | None = None, *, retry_after: float = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, round(retry_after)))})


class QueueFull(Retryable):
    """The queue is full; try again after Retry-After seconds."""

    status, code, title = 429, "queue-full", "Too Many Requests"


class Unavailable(Retryable):
    """The service cannot take this now."""

    status, code, title = 503, "unavailable", "Service Unavailable"


class Starting(Unavailable):
    """The service is starting."""

    code = "starting"


class Draining(Unavailable):
    """The service is stopping and accepts no more work."""

    code = "draining"


class StoreUnavailable(Unavailable):
    """The store cannot commit at the moment, so nothing can be accepted; it is tried again all the time."""

    code = "store-unavailable"


class JobError(Exception):
    """Raised by a handler: this attempt failed.

    Args:
        message: What went wrong; becomes the job's `error`.
        code: The job's `errorCode`.
        retryable: Whether another attempt may help; attempts are bounded by the job's own retry options.
        retry_after_ms: Wait at least this long before the next attempt, in milliseconds.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "handler-error",
        retryable: bool = True,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms


class RetryableResult(Exception):
    """Raised by a handler: try again if attempts are left, else complete the job with `result`.

    Args:
        result: The job's result when no attempt is left.
        reason: Why another attempt is worth it, for the event log.
        retry_after_ms: Wait at least this long before the next attempt, in milliseconds.
    """

    def __init__(self, result: object, *, reason: str = "", retry_after_ms: int | None = None) -> None:
        super().__init__(reason or "the result asks for another attempt")
        self.result = result
        self.retry_after_ms = retry_after_ms
