"""Errors that have to do with other servers.

Spec: https://spec.matrix.org/v1.19/server-server-api/#api-standards
"""

from typing import Any

from tim_server.matrix.errors import MatrixError


class Unauthorized(MatrixError):
    """M_UNAUTHORIZED: the request is not signed by a server, or not as it should be."""

    errcode = "M_UNAUTHORIZED"
    status = 401
    default_message = "The request is not signed as it should be"


class BadGateway(MatrixError):
    """M_UNKNOWN: other servers that were asked could not help."""

    errcode = "M_UNKNOWN"
    status = 502
    default_message = "Other servers that were asked could not help"


class RefusedElsewhere(MatrixError):
    """An error that another server gave for what was asked of it, under the errcode that it gave."""

    status = 400
    default_message = "The other server refused"

    def __init__(self, errcode: str, message: str) -> None:
        super().__init__(message)
        self.given = errcode

    def body(self) -> dict[str, Any]:
        """The JSON body, with the errcode that was given."""
        return {**super().body(), "errcode": self.given}
