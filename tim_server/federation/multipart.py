"""Reading an answer in parts (RFC 2046) while it arrives.

    parts = ArrivingParts(response.chunks, boundary_of(response.headers["Content-Type"]))
    async for part in parts:
        part.headers, [chunk async for chunk in part.chunks]

What is not read of a part is passed over with the next one. Memory is bounded whatever arrives: what is held is one
chunk of the connection, and the headers of a part.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from tim_server.federation.arriving_object import MalformedAnswer

HEADERS_BYTES_MAX = 16 * 1024
PARTS_MAX = 10
_BOUNDARY = re.compile(
    r"""multipart/[a-z]+[ \t]*;(?:[^"]*;)?[ \t]*boundary=(?:"([^"]{1,70})"|([^\s";]{1,70}))""", re.IGNORECASE
)
_LINE_END = b"\r\n"


def boundary_of(content_type: str) -> bytes:
    """The boundary in the content type of an answer in parts; raises `MalformedAnswer` for any other."""
    match = _BOUNDARY.match(content_type)
    if match is None:
        raise MalformedAnswer("it is not in parts")
    try:
        return (match[1] or match[2]).encode("ascii")
    except UnicodeEncodeError:
        raise MalformedAnswer("its boundary is none") from None


@dataclass(frozen=True, slots=True)
class Part:
    """One part; names of headers are lower case. `chunks` raise what the answer's chunks do, and `MalformedAnswer`."""

    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class ArrivingParts:
    """The parts of an answer, one after the other. Iterating raises `MalformedAnswer` where they do not end as they
    should, so that what was cut off is never taken for the whole."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._delimiter = _LINE_END + b"--" + boundary
        self._held = bytearray(_LINE_END)  # so that a delimiter at the very beginning is one

    async def __aiter__(self) -> AsyncIterator[Part]:
        """The parts, in order."""
        await self._skip()
        for _ in range(PARTS_MAX):
            if await self._is_end():
                return
            part = Part(await self._headers(), self._part())
            yield part
            async for _rest in part.chunks:
                pass
        raise MalformedAnswer("it has too many parts")

    async def _more(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise MalformedAnswer("it ends too soon")
        self._held += chunk

    async def _skip(self) -> None:
        async for _ in self._body():
            pass

    async def _part(self) -> AsyncIterator[bytes]:
        """The body of a part. In an empty one the line that ends the headers may begin the delimiter as well."""
        delimiter = self._delimiter.removeprefix(_LINE_END)
        while len(self._held) < len(delimiter):
            await self._more()
        if self._held.startswith(delimiter):
            del self._held[: len(delimiter)]
            return
        async for chunk in self._body():
            yield chunk

    async def _body(self) -> AsyncIterator[bytes]:
        """What comes before the next delimiter, which is passed. Of what is held, the end may begin a delimiter."""
        overlap = len(self._delimiter) - 1
        while (found := self._held.find(self._delimiter)) < 0:
            if len(self._held) > overlap:
                chunk = bytes(self._held[:-overlap])
                del self._held[:-overlap]
                yield chunk
            await self._more()
        chunk = bytes(self._held[:found])
        del self._held[: found + len(self._delimiter)]
        if chunk:
            yield chunk

    async def _is_end(self) -> bool:
        """Whether the delimiter that was passed is the last one; the rest of its line is passed too."""
        while len(self._held) < 2:
            await self._more()
        if self._held.startswith(b"--"):
            return True
        await self._line()
        return False

    async def _line(self) -> bytes:
        while (end := self._held.find(_LINE_END)) < 0:
            if len(self._held) > HEADERS_BYTES_MAX:
                raise MalformedAnswer("a header is too long")
            await self._more()
        line = bytes(self._held[:end])
        del self._held[: end + len(_LINE_END)]
        return line

    async def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        size = 0
        while line := await self._line():
            size += len(line)
            if size > HEADERS_BYTES_MAX:
                raise MalformedAnswer("the headers of a part are too long")
            name, colon, value = line.decode(errors="replace").partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        return headers
