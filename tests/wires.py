"""Servers of a network whose connections can be cut, as when the line between two hospitals is: each reaches each other
one through a relay of its own.

async with wired(network) as wires:
    options = {"federation": {"hosts": wires.hosts("a.example")}}
    wires.part({"a.example"}, {"b.example", "c.example"})
    wires.mend()
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.hospitals import Network

BYTES_PER_READ = 2**16


@dataclass(eq=False)
class Wire:
    """The way from one server to another, whose port is `target`. Once it is cut, connections end and none begins."""

    target: int
    is_cut: bool = False
    port: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """End what goes over it."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.is_cut:
            writer.transport.abort()
            return
        self._writers.add(writer)
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(there_writer)
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
            self._writers.discard(there_writer)
        writer.close()
        self._writers.discard(writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(BYTES_PER_READ):
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass
class Wires:
    """The wires by the names of the servers, from and to."""

    wires: dict[tuple[str, str], Wire]

    def hosts(self, name: str) -> dict[str, str]:
        """The value of the option `federation.hosts` of one server."""
        return {to: f"127.0.0.1:{wire.port}" for (come_from, to), wire in self.wires.items() if come_from == name}

    def part(self, *sides: Collection[str]) -> None:
        """Servers of different sides do not reach each other from now on; all others do."""
        side_of = {name: number for number, side in enumerate(sides) for name in side}
        for (come_from, to), wire in self.wires.items():
            if side_of.get(come_from) != side_of.get(to) and come_from in side_of and to in side_of:
                wire.cut()
            else:
                wire.is_cut = False

    def cut_between(self, one: str, other: str) -> None:
        """These two do not reach each other from now on, whoever else they reach."""
        self.mend()
        self.wires[one, other].cut()
        self.wires[other, one].cut()

    def mend(self) -> None:
        """All reach each other."""
        for wire in self.wires.values():
            wire.is_cut = False


@asynccontextmanager
async def wired(network: Network) -> AsyncIterator[Wires]:
    """Wires between all servers of a network."""
    wires = {(one, other): Wire(port) for one in network.ports for other, port in network.ports.items() if one != other}
    async with AsyncExitStack() as stack:
        for wire in wires.values():
            server = await stack.enter_async_context(await asyncio.start_server(wire.relay, "127.0.0.1", 0))
            wire.port = server.sockets[0].getsockname()[1]
            stack.callback(wire.cut)
        yield Wires(wires)
