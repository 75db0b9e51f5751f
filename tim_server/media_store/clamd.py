"""Have bytes scanned for malware by clamd, which gets them over a socket as they are read (`INSTREAM`).

The protocol is described in clamd(8): the command, chunks with their length in four bytes before each, an empty chunk,
and then one line as the answer. clamd answers earlier where it has had enough, and hangs up.
"""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANSWER_BYTES_MAX = 4_096
NAME_LENGTH_MAX = 100
_COMMAND = b"zINSTREAM\0"
_LENGTH_BYTES = 4
_END = bytes(_LENGTH_BYTES)
_CLEAN = "stream: OK"
_FOUND = re.compile(r"stream: (.+) FOUND")

ClamdPlace = Path | tuple[str, int]
"""A socket in the file system, or a host and its port."""


class ScannerAway(Exception):
    """clamd can't be reached, hangs up, or speaks another protocol."""


class ScanRefused(Exception):
    """clamd says that it can't scan this: it is larger than its configuration lets it take, for example."""


@dataclass(frozen=True, slots=True)
class Clamd:
    """Speaks with a clamd, in a connection of its own for each scan."""

    place: ClamdPlace

    async def scan(self, pieces: AsyncGenerator[bytes]) -> str | None:
        """What the malware is called that is in these bytes, which are closed; None where clamd knows of none. Raises
        `ScannerAway`, `ScanRefused`, and what `pieces` raise. There is no limit of time."""
        async with aclosing(pieces):
            return await self._scan(pieces)

    async def _scan(self, pieces: AsyncGenerator[bytes]) -> str | None:
        with closing(await self._connect()) as connection:
            with suppress(ConnectionError):  # whoever hangs up has said why before
                await _send(connection, pieces)
            return _malware_in(await _read_answer(connection))

    async def _connect(self) -> socket.socket:
        """A connection; a socket of the event loop's own kind would forget an answer where sending fails."""
        try:
            if isinstance(self.place, Path):
                return await _connected(socket.AF_UNIX, str(self.place))
            host, port = self.place
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return await _first_connected([(each[0], each[4]) for each in found])
        except OSError as error:
            raise ScannerAway(f"it can't be reached: {type(error).__name__}") from None


async def _first_connected(addresses: Sequence[tuple[int, Any]]) -> socket.socket:
    for family, address in addresses[:-1]:
        with suppress(OSError):
            return await _connected(family, address)
    return await _connected(*addresses[-1])


async def _connected(family: int, address: Any) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


async def _send(connection: socket.socket, pieces: AsyncGenerator[bytes]) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, _COMMAND)
    async for piece in pieces:
        if piece:
            await loop.sock_sendall(connection, len(piece).to_bytes(_LENGTH_BYTES, "big"))
            await loop.sock_sendall(connection, piece)
    await loop.sock_sendall(connection, _END)


async def _read_answer(connection: socket.socket) -> str:
    loop, answer = asyncio.get_running_loop(), b""
    while not answer.endswith(b"\0"):
        try:
            received = await loop.sock_recv(connection, ANSWER_BYTES_MAX)
        except ConnectionError:
            received = b""
        if not received:
            raise ScannerAway("it hangs up without an answer")
        answer += received
        if len(answer) > ANSWER_BYTES_MAX:
            raise ScannerAway("its answer has no end")
    return answer[:-1].decode("ascii", "replace")


def _malware_in(answer: str) -> str | None:
    if answer == _CLEAN:
        return None
    if found := _FOUND.fullmatch(answer):
        return found[1][:NAME_LENGTH_MAX]
    if answer.endswith("ERROR"):
        raise ScanRefused(answer[:NAME_LENGTH_MAX])
    raise ScannerAway("it does not speak as clamd does")
