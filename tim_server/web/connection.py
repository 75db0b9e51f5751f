"""The HTTP connection: aiohttp's, with two differences.

A client that disconnects cancels what it was only reading; a write that was accepted runs to its end. And what is not
HTTP is answered as a Matrix error too.
"""

import asyncio
import socket
from typing import Any

from aiohttp.http_exceptions import LineTooLong
from aiohttp.web import BaseRequest, RequestHandler, RequestPayloadError, Server, StreamResponse

from tim_server.observability.request_id import new_request_id
from tim_server.web.errors import BadRequest, HeadersTooLarge, to_matrix_error
from tim_server.web.respond import respond_to_error

_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Connection(RequestHandler):
    """One connection of a client."""

    __slots__ = ()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the request in progress where it only reads."""
        request = self._current_request
        task = self._task_handler
        super().connection_lost(exc)
        if request is not None and task is not None and request.method in _READING_METHODS:
            task.cancel()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """The answer to what could not be parsed, after which the connection ends."""
        if status >= 500 and isinstance(exc, Exception):
            error = to_matrix_error(exc, route="(connection)")
        else:
            error = HeadersTooLarge() if isinstance(exc, LineTooLong) else BadRequest()
        response = respond_to_error(error, new_request_id())
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what aiohttp could not handle; a body that a client encoded wrongly is nothing to act on."""
        if isinstance(kw.get("exc_info"), RequestPayloadError):
            self.log_debug(*args, **kw)
        else:
            super().log_exception(*args, **kw)


class HttpServer(Server):
    """Makes a `Connection` for each client, up to `connections_max`; `options` are those of RequestHandler.

    A client that takes nothing of its answer for `unread_timeout_seconds` loses the connection: otherwise it could hold
    answers in memory for ever.
    """

    def __init__(
        self, answer: Any, *, connections_max: int, unread_timeout_seconds: float = 60.0, **options: Any
    ) -> None:
        super().__init__(answer, loop=asyncio.get_running_loop())
        self.connection_count = 0
        self._connections_max = connections_max
        self._unread_timeout_ms = round(unread_timeout_seconds * 1000)
        self._options = {"access_log": None, **options}

    def __call__(self) -> Connection:
        """A protocol for a new connection."""
        return Connection(self, loop=self._loop, **self._options)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection; one too many is closed, as there is no memory to be had for it."""
        super().connection_made(handler, transport)
        self.connection_count += 1
        accepted = transport.get_extra_info("socket")
        if accepted is not None and accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._unread_timeout_ms)
        if self.connection_count > self._connections_max:
            handler.force_close()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Count it no more."""
        super().connection_lost(handler, exc)
        self.connection_count -= 1
