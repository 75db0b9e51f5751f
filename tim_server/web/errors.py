"""The one place that turns errors into responses.

A `MatrixError` says itself what the client sees. All else is a bug: 500 `M_UNKNOWN`, logged once with its trace.

Spec: https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
"""

import math
from typing import ClassVar

import orjson
import structlog

from tim_server.matrix.errors import InternalError, LimitExceeded, MatrixError
from tim_server.observability.traces import describe_error

_log = structlog.get_logger("web")

JsonResponse = tuple[int, bytes, dict[str, str]]
"""Status, body, further headers."""


class RequestTimedOut(MatrixError):
    """M_UNKNOWN with 408: the client took too long to send its request."""

    errcode: ClassVar[str] = "M_UNKNOWN"
    status: ClassVar[int] = 408
    default_message: ClassVar[str] = "The request took too long to arrive"


class HeadersTooLarge(MatrixError):
    """M_TOO_LARGE with 431: a header or the request line is longer than the server reads."""

    errcode: ClassVar[str] = "M_TOO_LARGE"
    status: ClassVar[int] = 431
    default_message: ClassVar[str] = "A header or the address of the request is too long"


class BadRequest(MatrixError):
    """M_UNKNOWN with 400: what arrived is not HTTP as this server reads it."""

    errcode: ClassVar[str] = "M_UNKNOWN"
    status: ClassVar[int] = 400
    default_message: ClassVar[str] = "This is not an HTTP request that the server can read"


def to_matrix_error(error: Exception, *, route: str) -> MatrixError:
    """What the client sees of `error`. A bug is logged here, without the values that caused it."""
    if isinstance(error, MatrixError):
        return error
    _log.error("unexpected_error", route=route, **describe_error(error))
    return InternalError()


def error_response(error: MatrixError) -> JsonResponse:
    """The standard error response; 429 says in a header too when to come back."""
    headers: dict[str, str] = {}
    retry_after_ms = error.extra.get("retry_after_ms")
    if isinstance(error, LimitExceeded) and retry_after_ms is not None:
        headers["Retry-After"] = str(math.ceil(retry_after_ms / 1000))
    return error.status, orjson.dumps(error.body()), headers
