"""Errors as the platform tells them: `{"error": {"type", "message"}}` (published schema ErrorResponse)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...errors import ServiceError

TYPES_BY_STATUS = {
    400: "invalid-request",
    401: "token-not-provided",
    402: "not-enough-usage-to-run-paid-actor",
    403: "insufficient-permissions",
    404: "record-not-found",
    405: "method-not-allowed",
    408: "operation-timed-out",
    409: "operation-not-allowed",
    413: "request-too-large",
    415: "invalid-content-type-header",
    422: "invalid-value",
    429: "rate-limit-exceeded",
    501: "not-implemented",
    503: "internal-server-error",
}
"""The platform's error type (published schema ErrorType) for a status that names no finer one."""


class ApiError(Exception):
    """A request to the Apify-compatible API that is refused; becomes the platform's error body.

    Args:
        status: The HTTP status.
        error_type: One of the published schema ErrorType.
        message: What was wrong, for a person.
        headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, error_type: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = error_type
        self.headers = dict(headers or {})


def not_found(what: str) -> ApiError:
    """The 404 that both official clients read as "there is none": only this type makes it so."""
    return ApiError(404, "record-not-found", f"{what} was not found")


def as_api_error(error: ServiceError) -> ApiError:
    """The same refusal in the platform's words."""
    fallback = "internal-server-error" if error.status >= 500 else "invalid-request"
    return ApiError(error.status, TYPES_BY_STATUS.get(error.status, fallback), str(error), error.headers)


def error_body(error_type: str, message: str) -> dict[str, dict[str, str]]:
    """The JSON body of an error."""
    return {"error": {"type": error_type, "message": message}}
