"""Read a request's body within its limits of size and time.

What is too large is refused before it is read, where its length is announced, and at the limit otherwise.
"""

import asyncio
from collections.abc import AsyncIterator

from aiohttp.web import BaseRequest, RequestPayloadError

from tim_server.matrix.errors import TooLarge
from tim_server.web.body_memory import BodyShare
from tim_server.web.errors import BadRequest, RequestTimedOut


class ClientGone(Exception):
    """The client closed the connection before its request was complete; there is nobody to answer."""


class BodyStream:
    """A body that the endpoint reads itself: `async for chunk in stream`.

    Iterating raises TooLarge, RequestTimedOut (no chunk for `chunk_timeout_seconds`), BadRequest or ClientGone.
    """

    __slots__ = ("_chunk_timeout_seconds", "_request", "_size_bytes_max", "content_type", "length_bytes")

    def __init__(self, request: BaseRequest, *, size_bytes_max: int, chunk_timeout_seconds: float) -> None:
        self._request = request
        self._size_bytes_max = size_bytes_max
        self._chunk_timeout_seconds = chunk_timeout_seconds
        self.length_bytes = request.content_length
        """The announced length, None where there is none."""
        self.content_type = request.headers.get("Content-Type")
        """The Content-Type header as it was sent."""
        if self.length_bytes is not None and self.length_bytes > size_bytes_max:
            raise TooLarge()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks as they arrive, none of them empty."""
        _invite(self._request)
        content = self._request.content
        received = 0
        while not content.at_eof():
            try:
                async with asyncio.timeout(self._chunk_timeout_seconds):
                    chunk = await content.readany()
            except TimeoutError:
                raise RequestTimedOut() from None
            except RequestPayloadError:
                raise _gone_or_bad(self._request) from None
            except ConnectionError:
                raise ClientGone() from None
            except asyncio.CancelledError:
                if content.exception() is None:
                    raise
                raise ClientGone() from None  # so aiohttp ends a body when the server stops
            received += len(chunk)
            if received > self._size_bytes_max:
                raise TooLarge()
            if chunk:
                yield chunk


async def read_body(request: BaseRequest, share: BodyShare, *, size_bytes_max: int, timeout_seconds: float) -> bytes:
    """The whole body, which must be there in `timeout_seconds`; raises as `BodyStream` and the `share` do."""
    content = request.content
    if content.is_eof() and content.exception() is None:  # all of it arrived with the headers
        body = content.read_nowait()
        if len(body) > size_bytes_max:
            raise TooLarge()
        share.take(len(body))
        return body
    stream = BodyStream(request, size_bytes_max=size_bytes_max, chunk_timeout_seconds=timeout_seconds)
    arrived = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in stream:
                share.take(len(chunk))
                arrived += chunk
            return bytes(arrived)
    except TimeoutError:
        raise RequestTimedOut() from None


def _invite(request: BaseRequest) -> None:
    """Answer `Expect: 100-continue`, now that nothing stands against the request but its body."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _gone_or_bad(request: BaseRequest) -> Exception:
    transport = request.transport
    return ClientGone() if transport is None or transport.is_closing() else BadRequest("The body can't be read")
