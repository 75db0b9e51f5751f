"""Errors that have to do with other servers.

Spec: https://spec.matrix.org/v1.19/server-server-api/#api-standards
"""

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
