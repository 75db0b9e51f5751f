"""Rooms of a hospital in which a foreign server made by hand takes part: its user has joined, and it builds events."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.hospitals import NetworkedHospital
from tests.peer import Peer
from tests.people import Person
from tests.services.rooms.forks import Fork
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.receive import Incoming

_transactions = itertools.count()


@dataclass(repr=False)
class SharedRoom:
    """A room of Alice's, `hospital` her server. `make` builds the next event of the peer's user, `push` sends some."""

    hospital: NetworkedHospital
    peer: Peer
    alice: Person
    room_id: RoomId
    user_id: UserId
    fork: Fork = field(init=False)

    @property
    def queues(self) -> RoomQueues:
        return queues_of(self.hospital)

    async def fork_here(self, author: Author | None = None, user_id: UserId | None = None) -> Fork:
        """A new branch on what the hospital has now, by default of the peer's user."""
        head = await self.queues.heads.get(self.room_id)
        assert head is not None
        events = await self.queues.parsed.load(head.state.values(), head.version)
        return Fork(head, events, author=author or self.peer.author, sender=user_id or self.user_id)

    def message(self, body: str = "hello", **content: Any) -> Event:
        return self.fork.make("m.room.message", {"msgtype": "m.text", "body": body, **content})

    async def push(self, *pdus: Event | dict[str, Any], edus: Sequence[Any] = (), **options: Any) -> dict[str, Any]:
        """What the hospital answers to a transaction: by event id, `{}` or an error."""
        return await push(self.peer, self.hospital.name, *pdus, edus=edus, **options)

    async def timeline(self) -> list[dict[str, Any]]:
        """What Alice sees of the room's history, oldest first."""
        page = await self.alice.get(f"rooms/{self.room_id}/messages", dir="b", limit=100)
        return list(reversed(page["chunk"]))

    async def seen(self) -> list[str]:
        """The ids of events that Alice sees, oldest first."""
        return [event["event_id"] for event in await self.timeline()]

    async def state(self, event_type: str, state_key: str = "") -> Any:
        """The content of a state event in place; None where there is none."""
        status, answer = await self.alice.request("GET", f"rooms/{self.room_id}/state/{event_type}/{state_key}")
        return answer if status == 200 else None


async def push(
    peer: Peer,
    server: str,
    *pdus: Event | dict[str, Any],
    edus: Sequence[Any] = (),
    txn_id: str | None = None,
    status: int = 200,
) -> dict[str, Any]:
    """What a server answers to a transaction of the peer."""
    body = {
        "origin": peer.name,
        "origin_server_ts": 1,
        "pdus": [pdu.pdu if isinstance(pdu, Event) else pdu for pdu in pdus],
        "edus": list(edus),
    }
    path = f"/_matrix/federation/v1/send/{txn_id or next(_transactions)}"
    got, answer = await peer.ask(server, "PUT", path, body)
    assert got == status, answer
    return answer["pdus"] if status == 200 else answer


def queues_of(hospital: NetworkedHospital) -> RoomQueues:
    """The room queues inside a homeserver."""
    return hospital.process.homeservers[0].homeserver.room_sender.queues


async def share_room(
    hospital: NetworkedHospital,
    peer: Peer,
    *,
    version: str = "11",
    power: int = 0,
    user: str = "carol",
    **options: Any,
) -> SharedRoom:
    """A public room of a new person's at the hospital, with a user of the peer's who has this power."""
    alice = await hospital.person()
    user_id = UserId(f"@{user}:{peer.name}")
    founder = {} if version == "12" else {alice.user_id: 100}
    levels = {"users": {user_id: power, **founder}}
    options = {"power_level_content_override": levels, **options}
    room_id = RoomId(await alice.create_room(room_version=version, **options))
    return await enter_room(hospital, peer, alice, room_id, user=user)


async def enter_room(
    hospital: NetworkedHospital, peer: Peer, alice: Person, room_id: RoomId, *, user: str = "carol"
) -> SharedRoom:
    """A user of the peer's joins a room of Alice's."""
    user_id = UserId(f"@{user}:{peer.name}")
    room = SharedRoom(hospital, peer, alice, room_id, user_id)
    room.fork = await room.fork_here()
    join = room.fork.make("m.room.member", {"membership": "join"}, state_key=user_id)
    assert await room.queues.submit(room_id, Incoming(events=(join,))) == (join.event_id,)
    return room
