"""A proxy between a client and PostgreSQL's socket that cuts connections at a chosen message of the protocol.

It reads the client's messages, so that a cut happens exactly before or after one, whatever the timing. Statements
without parameters, such as BEGIN, COMMIT and the taking of the clock, are messages that hold their text.

Protocol: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import asyncio
import enum
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

LATE_S = 0.15
_SOCKET = ".s.PGSQL.5432"
_READY_FOR_QUERY = b"Z\x00\x00\x00\x05"


class Moment(enum.Enum):
    """When a connection is cut, seen from the message that is waited for."""

    BEFORE = "before it is sent"
    UNANSWERED = "after it is sent, before the answer"
    ANSWERED = "after PostgreSQL has answered, before the answer arrives"
    LATE = "before it is sent, but it arrives later, when the client has long come back"


@dataclass(slots=True, kw_only=True)
class Cut:
    """One message to wait for, the text that it holds, and what happens then: the connection is cut, and the next
    `refusals` attempts to connect are refused. `times`: how many such messages are treated so, after `skip` others."""

    statement: str
    moment: Moment
    times: int = 1
    skip: int = 0
    refusals: int = 0


@dataclass(slots=True)
class CuttingProxy:
    """Listens on a socket of its own; `dsn` leads through it. `cuts` are looked at in order. `refuse` closes every new
    connection at once; `stall` keeps connections open and passes nothing on."""

    dsn: str
    target: str
    cuts: list[Cut] = field(default_factory=list)
    refuse: bool = False
    stall: bool = False
    made: int = 0
    connections: int = 0
    _refusals: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self, statement: str, moment: Moment, **options: int) -> None:
        """Cut the connection at the next message that holds `statement`."""
        self.cuts.append(Cut(statement=statement, moment=moment, **options))

    def cut_all(self) -> None:
        """Cut every connection now."""
        for writer in tuple(self._open):
            writer.transport.abort()

    def _match(self, message: bytes) -> Moment | None:
        for cut in self.cuts:
            if cut.times and cut.statement.encode() in message:
                if cut.skip:
                    cut.skip -= 1
                    return None
                cut.times -= 1
                self._refusals += cut.refusals
                self.made += 1
                return cut.moment
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        if self.refuse or self._refusals:
            self._refusals = max(0, self._refusals - 1)
            writer.transport.abort()
            return
        from_server, to_server = await asyncio.open_unix_connection(self.target)
        self._open |= {writer, to_server}
        answers = asyncio.create_task(_copy(from_server, writer))
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._forward(reader, writer, (from_server, to_server), answers)
        finally:
            answers.cancel()
            for each in (writer, to_server):
                each.transport.abort()
                self._open.discard(each)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        answers: "asyncio.Task[None]",
    ) -> None:
        from_server, to_server = server
        to_server.write(await _read_startup(reader))
        while True:
            message = await _read_message(reader)
            if self.stall:
                continue
            moment = self._match(message)
            if moment is None:
                to_server.write(message)
                await to_server.drain()
                continue
            if moment is not Moment.BEFORE:
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)
            if moment in (Moment.BEFORE, Moment.LATE, Moment.UNANSWERED):
                if moment is Moment.UNANSWERED:
                    to_server.write(message)
                writer.transport.abort()
            if moment is Moment.LATE:
                await asyncio.sleep(LATE_S)
            if moment in (Moment.LATE, Moment.ANSWERED):
                to_server.write(message)
                await _read_until_ready(from_server)
            return


async def _read_startup(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length, "big") - 4)


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)


async def _read_until_ready(reader: asyncio.StreamReader) -> None:
    answer = b""
    while _READY_FOR_QUERY not in answer:
        chunk = await reader.read(65_536)
        if not chunk:
            return
        answer += chunk


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def cutting_proxy(dsn: str, folder: Path) -> AsyncIterator[CuttingProxy]:
    """A proxy with its socket in `folder`, before the server of `dsn`, which names a folder with a socket too."""
    parts = urlsplit(dsn)
    proxy = CuttingProxy(
        dsn=urlunsplit(parts._replace(query=f"host={quote(str(folder), safe='')}&port=5432")),
        target=os.path.join(parse_qs(parts.query)["host"][0], _SOCKET),  # noqa: PTH118
    )
    server = await asyncio.start_unix_server(proxy.serve, str(folder / _SOCKET))
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_all()
