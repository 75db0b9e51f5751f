"""A server that means harm, in a process of its own: it is in rooms of a homeserver, sends what it should not, as
much as it can, and answers what it is asked without end.

attacker = Attacker.spawn(network)          # before any event loop runs
room_ids = attacker.rooms()                 # somebody of the homeserver joins them
attacker.begin() … attacker.end()           # what was sent, by kind and status of the answer
"""

import asyncio
import multiprocessing
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
from aiohttp import web

from tests.hospitals import Network
from tests.peer import Asked, Peer, run_peer
from tests.peer_history import V1, PeerHistory
from tests.peer_room import PeerRoom
from tim_server.matrix.identifiers import EventId

PEER, BLACK_HOLE = "peer.example", "hole.example"
ROOMS, SLOW_BODIES, DEVICES, RECEIPTS = 4, 50, 4_000, 20_000
SLOW_SERVERS = [f"slow{number}.example" for number in range(100)]
KINDS = ("forged", "gaps", "of_slow_servers", "tiny_arrays", "short_lived", "slow_bodies")
DENSE = b'{"edus":[],"pdus":[' + b"[]," * 1_800_000 + b"[]]}"


@dataclass(kw_only=True)
class Attack:
    """What is thrown at the server `target`, until cancelled."""

    peer: Peer
    target: str
    rooms: list[PeerRoom]
    sent: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    async def run(self, kinds: Sequence[str]) -> None:
        await asyncio.gather(*(self._again(getattr(self, kind)) for kind in kinds))

    async def _again(self, kind: Callable[[PeerRoom], Awaitable[int]]) -> None:
        while True:
            for room in self.rooms:
                with suppress(aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError):
                    self.sent[f"{kind.__name__} {await kind(room)}"] += 1
                await asyncio.sleep(0.05)

    async def _send(self, *pdus: Any, edus: Any = ()) -> int:
        self._number += 1
        body = {"origin": PEER, "origin_server_ts": 1, "pdus": list(pdus), "edus": list(edus)}
        return (await self.peer.ask(self.target, "PUT", f"{V1}/send/attack{self._number}", body))[0]

    async def forged(self, room: PeerRoom) -> int:
        """Fifty events that nobody has signed so."""
        pdu = room.make("m.room.message", {"body": "x" * 20_000}).pdu
        return await self._send(*({**pdu, "depth": number} for number in range(50)))

    async def gaps(self, room: PeerRoom) -> int:
        """Events before which more lies than can be had."""
        pdus = []
        for number in range(10):
            prev = tuple(EventId(f"$none{self._number}-{number}-{n}".ljust(44, "x")) for n in range(20))
            pdus.append(room.make("m.room.message", {"body": f"{number}"}, prev_events=prev).pdu)
        before = room.make("m.room.message", {"body": "lost"}, prev_events=prev[:1])
        room.events[before.event_id] = before
        room.before[before.event_id] = dict(room.state)
        pdus.append(room.make("m.room.message", {"body": "on it"}, prev_events=(before.event_id,)).pdu)
        return await self._send(*pdus)

    async def of_slow_servers(self, room: PeerRoom) -> int:
        """Events of users of fifty servers that take connections and say nothing."""
        pdu = room.make("m.room.message", {"body": "slow"}).pdu
        some = SLOW_SERVERS[self._number % 50 :][:50]
        return await self._send(
            *({**pdu, "sender": f"@x:{name}", "signatures": {name: {"ed25519:1": "A" * 86}}} for name in some)
        )

    async def tiny_arrays(self, room: PeerRoom) -> int:
        """Five megabytes that become a hundred and forty."""
        return (await self.peer.ask(self.target, "PUT", f"{V1}/send/dense", DENSE))[0]

    async def short_lived(self, room: PeerRoom) -> int:
        """A hundred EDUs, each for thousands."""
        eves = [f"@eve{number}:{PEER}" for number in range(RECEIPTS)]
        mark = {"event_ids": [room.prev[0]], "data": {"ts": 1}}
        read = {room.room_id: {"m.read": dict.fromkeys(eves[: RECEIPTS // 10], mark)}}
        letter = {
            "sender": room.creator,
            "type": "m.x",
            "messages": {f"@u{n}:{self.target}": {"*": {}} for n in range(DEVICES)},
        }
        return await self._send(
            edus=[
                *({"edu_type": "m.receipt", "content": read} for _ in range(10)),
                *(
                    {"edu_type": "m.direct_to_device", "content": {**letter, "message_id": f"{self._number}-{number}"}}
                    for number in range(10)
                ),
                *({"edu_type": "m.device_list_update", "content": {"user_id": eve}} for eve in eves[:80]),
            ]
        )

    async def slow_bodies(self, room: PeerRoom) -> int:
        """Bodies of which a byte comes now and then."""
        await asyncio.gather(*(self._slow_body() for _ in range(SLOW_BODIES)), return_exceptions=True)
        return 0

    async def _slow_body(self) -> None:
        context = self.peer.network.circle.client_context()
        port = self.peer.network.ports[self.target]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=self.target)
        uri = f"{V1}/send/slow"
        head = f"PUT {uri} HTTP/1.1\r\nHost: {self.target}\r\nContent-Length: 9000000\r\n"
        head += f"Authorization: {self.peer.authorization(self.target, 'PUT', uri, b'{}')}\r\n\r\n"
        writer.write(head.encode() + b"[" * 2_000_000)
        try:
            for _ in range(60):
                writer.write(b"[")
                await writer.drain()
                await asyncio.sleep(1)
        finally:
            writer.close()


def serve_without_end(peer: Peer, room: PeerRoom) -> None:
    """Have the peer answer about a room's past: always more, and far too much."""
    asked = Counter[str]()

    async def missing(question: Asked) -> Any:
        """Chains that go on for ever, or a gigabyte in half a megabyte, or nothing."""
        asked["missing"] += 1
        if asked["missing"] % 5 == 0:
            return web.Response(body=b'{"events":[' + b"[]," * 400_000 + b"[]]}")
        events = []
        for latest in question.json["latest_events"][:20]:
            known = room.events.get(EventId(latest))
            prev = known.prev_events if known is not None else (EventId(f"${time.time_ns()}".ljust(44, "y")),)
            made = room.make("m.room.message", {"body": "more"}, prev_events=prev)
            events.append(made.pdu)
        return {"events": events}

    async def state_ids(question: Asked) -> Any:
        """Four hundred thousand ids."""
        ids = [f"$none{number:039}" for number in range(400_000)]
        return {"pdu_ids": [*(event.event_id for event in room.state.values()), *ids], "auth_chain_ids": []}

    async def state(question: Asked) -> Any:
        """A hundred thousand events that are none."""
        junk = b",".join([b'{"type":"m.room.member","state_key":"x","sender":"@a:b","content":{}}'] * 100_000)
        return web.Response(body=b'{"pdus":[' + junk + b'],"auth_chain":[]}')

    peer.answers["POST", f"{V1}/get_missing_events/{room.room_id}"] = missing
    peer.answers["GET", f"{V1}/state_ids/{room.room_id}"] = state_ids
    peer.answers["GET", f"{V1}/state/{room.room_id}"] = state


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """The process, as seen from another."""

    process: Any
    pipe: Connection

    @classmethod
    def spawn(cls, network: Network, target: str) -> "Attacker":
        """Start it; it does nothing yet."""
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=_main, args=(network, target, theirs), daemon=True)
        process.start()
        return cls(process=process, pipe=ours)

    async def rooms(self) -> list[str]:
        """The rooms that it holds."""
        return list(await asyncio.to_thread(self.pipe.recv))

    def begin(self, kinds: Sequence[str] = KINDS) -> None:
        self.pipe.send(kinds)

    async def end(self) -> dict[str, int]:
        """Stop it; how much was sent of each kind and answered with each status."""
        self.pipe.send("end")
        sent: dict[str, int] = await asyncio.to_thread(self.pipe.recv)
        await asyncio.to_thread(self.process.join, 30)
        return sent


def _main(network: Network, target: str, pipe: Connection) -> None:
    asyncio.run(_attack(network, target, pipe))


async def _attack(network: Network, target: str, pipe: Connection) -> None:
    async with run_peer(network, PEER) as peer:
        hole = await asyncio.start_server(_say_nothing, "127.0.0.1", network.ports[BLACK_HOLE])
        rooms = [PeerRoom.create(peer.author) for _ in range(ROOMS)]
        for room in rooms:
            room.serve(peer)
            PeerHistory(room).serve(peer)
            serve_without_end(peer, room)
        peer.answers["PUT", f"{V1}/send/*"] = {"pdus": {}}
        pipe.send([room.room_id for room in rooms])
        kinds = await asyncio.to_thread(pipe.recv)
        attack = Attack(peer=peer, target=target, rooms=rooms)
        task = asyncio.create_task(attack.run(kinds))
        await asyncio.to_thread(pipe.recv)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        pipe.send(dict(attack.sent))
        hole.close()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.CancelledError):
        while await reader.read(65_536):
            pass
    writer.close()
