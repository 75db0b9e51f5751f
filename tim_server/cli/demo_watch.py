"""A watched door: whoever connects to a server of the demonstration is counted, and let through."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tim_server.cli.demo_places import ADDRESS

CHUNK_BYTES = 64 * 1024


@dataclass(slots=True, kw_only=True)
class Door:
    """How many connections came; each is passed on to `inner_port`."""

    inner_port: int
    connection_count: int = 0
    _passing: set[asyncio.Task[None]] = field(default_factory=set)

    async def let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count a connection and pass on what it says, both ways, until one side ends."""
        self.connection_count += 1
        try:
            inner_reader, inner_writer = await asyncio.open_connection(ADDRESS, self.inner_port)
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, inner_writer))
                group.create_task(_copy(inner_reader, writer))
        finally:
            inner_writer.close()
            writer.close()


@asynccontextmanager
async def watched_door(port: int, inner_port: int) -> AsyncIterator[Door]:
    """Watch the door at `port`."""
    door = Door(inner_port=inner_port)
    server = await asyncio.start_server(door.let_in, ADDRESS, port)
    try:
        yield door
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
