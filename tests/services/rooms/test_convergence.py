"""Servers that have the same events have the same state, in whichever order these came; and what was parted heals."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from copy import copy
from typing import Any

import pytest

from tests.durability.form import MORE_SEEDS
from tests.peer import make_author
from tests.peer_room import PeerRoom
from tests.services.rooms.conftest import Rooms, make_rooms
from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import MatrixError
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.receive import Incoming
from tim_server.services.rooms.remote.known_rooms import KnownRooms
from tim_server.storage.codec import Codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.events import EVENT_COLUMNS, EventRow, read_row
from tim_server.storage.store import open_store

VERSIONS = [str(number) for number in range(1, 13)]
AUTHOR = make_author("peer.example")
PEOPLE = [UserId(f"@{name}:peer.example") for name in ("senior", "nurse", "porter")]
EVENTS_OF_ROOM = f"SELECT {EVENT_COLUMNS} FROM events WHERE room_nid = (SELECT nid FROM rooms WHERE room_id = $1)"


@pytest.fixture(scope="module")
async def servers(make_tenant_dsn: Callable[[], Awaitable[str]]) -> AsyncIterator[list[Rooms]]:
    """Three servers, each with a database of its own."""
    async with AsyncExitStack() as stack:
        found = []
        for name, seed in (("hospital.example", 1), ("clinic.example", 2), ("practice.example", 3)):
            store = await open_store(DatabaseOptions(dsn=await make_tenant_dsn()), Codec())
            stack.push_async_callback(store.close)
            found.append(make_rooms(store, make_author(name, seed)))
            stack.push_async_callback(found[-1].queues.close)
        yield found


async def rows_of(server: Rooms, room_id: RoomId) -> dict[EventId, EventRow]:
    async with server.store.database.connection() as connection:
        rows = [read_row(row, server.store.codec) for row in await connection.fetch(EVENTS_OF_ROOM, room_id)]
    return {row.event_id: row for row in rows}


async def state_of(server: Rooms, room_id: RoomId) -> dict[tuple[str, str], EventId]:
    """The ids of the room's state."""
    server.queues.heads.clear()
    head = await server.queues.heads.get(room_id)
    assert head is not None
    by_nid = {row.nid: event_id for event_id, row in (await rows_of(server, room_id)).items()}
    return {key: by_nid[nid] for key, nid in head.state.items()}


async def know(server: Rooms, room_id: RoomId, version: RoomVersion) -> None:
    await KnownRooms(store=server.store, heads=server.queues.heads).know(room_id, version)


def any_order(events: Sequence[Event], chance: random.Random) -> list[Event]:
    """The events, each after those that it refers to; else in any order."""
    left, given, ordered = list(events), {event.event_id for event in events}, list[Event]()
    while left:
        waiting = {event.event_id for event in left}
        ready = [e for e in left if waiting.isdisjoint((*e.prev_events, *e.auth_events))]
        assert ready and given
        ordered.append(chance.choice(ready))
        left.remove(ordered[-1])
    return ordered


async def feed(server: Rooms, room_id: RoomId, events: Sequence[Event], chance: random.Random) -> None:
    """Have the events arrive, some at once."""
    while events:
        count = chance.randint(1, 12)
        await server.queues.submit(room_id, Incoming(events=tuple(events[:count])))
        events = events[count:]


def do_something(branch: PeerRoom, chance: random.Random) -> None:
    """Somebody does something on a branch, whether or not they may."""
    sender, other = chance.choice([branch.creator, *PEOPLE]), chance.choice(PEOPLE)
    levels = {str(person): chance.choice((0, 50, 60)) for person in PEOPLE}
    founder = {} if branch.version.privileged_creators else {str(branch.creator): 100}
    what: list[Callable[[], Any]] = [
        lambda: branch.say("hello", sender=sender),
        lambda: branch.add("m.room.topic", {"topic": str(chance.random())}, sender=sender, state_key=""),
        lambda: branch.add(
            "org.example.state", {"n": str(chance.random())}, sender=sender, state_key=chance.choice("abc")
        ),
        lambda: branch.add("m.room.power_levels", {"users": levels | founder}, sender=sender, state_key=""),
        lambda: branch.member(other, chance.choice(("ban", "leave", "invite")), sender=sender),
        lambda: branch.join(other),
        lambda: branch.add("m.room.join_rules", {"join_rule": chance.choice(("public", "invite"))}, state_key=""),
    ]
    chance.choice(what)()


def forked(version: str, chance: random.Random) -> tuple[PeerRoom, list[Event]]:
    """A room on several branches, and all of its events; the last names all branches."""
    room = PeerRoom.create(AUTHOR, version)
    for person in PEOPLE:
        room.join(person)
    branches = [copy(room) for _ in range(3)]
    for branch in branches:
        branch.state = dict(room.state)
        for _ in range(chance.randint(3, 12)):
            do_something(branch, chance)
        if chance.random() < 0.5:  # goes on from another branch as well
            branch.prev = (*branch.prev, *chance.choice(branches).prev)
    room.prev = tuple(dict.fromkeys(event_id for branch in branches for event_id in branch.prev))
    room.depth = max(branch.depth for branch in branches)
    room.say("all of it")
    return room, list(room.events.values())


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in MORE_SEEDS)])
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_state_is_the_same_in_whichever_order_events_come(
    servers: list[Rooms], version: str, seed: int
) -> None:
    chance = random.Random(f"{version} {seed}")
    room, events = forked(version, chance)
    for server in servers:
        await know(server, room.room_id, room.version)
        await feed(server, room.room_id, any_order(events, chance), chance)
    states = [await state_of(server, room.room_id) for server in servers]
    assert states[0] == states[1] == states[2] and len(states[0]) > 4
    rejected = [
        {event_id for event_id, row in (await rows_of(server, room.room_id)).items() if row.rejected}
        for server in servers
    ]
    assert rejected[0] == rejected[1] == rejected[2]


class Site:
    """A server of the two that are parted, with a user of its own."""

    def __init__(self, server: Rooms, name: str) -> None:
        self.server, self.user_id = server, UserId(f"@{name}:{server.author.server_name}")
        self.told: set[EventId] = set()

    async def send(self, room_id: RoomId, event_type: str, content: dict[str, Any], state_key: str | None) -> None:
        """The user does something, if the rules let it happen."""
        draft = Draft(type=event_type, sender=self.user_id, content=content, state_key=state_key)
        try:
            await self.server.queues.submit(room_id, DraftGroup(drafts=(draft,)))
        except MatrixError:
            return

    async def news(self, room_id: RoomId, version: RoomVersion) -> list[Event]:
        """Events of this server that the other was not told of."""
        rows = await rows_of(self.server, room_id)
        own = [row for row in rows.values() if row.sender.server_name == self.server.author.server_name]
        fresh = [row for row in own if row.event_id not in self.told]
        self.told |= {row.event_id for row in fresh}
        return [read_stored_pdu(decode_lenient(row.body), version, row.event_id) for row in fresh]


@pytest.mark.parametrize("version", VERSIONS)
async def test_servers_that_were_parted_agree_once_they_have_talked(servers: list[Rooms], version: str) -> None:
    chance = random.Random(f"parted {version}")
    here, there = Site(servers[0], "alice"), Site(servers[1], "bob")
    users = {str(there.user_id): 100} | _founders(version)
    room_id = await servers[0].create(version, users=users)
    head = await servers[0].queues.heads.get(room_id)
    assert head is not None
    await know(servers[1], room_id, head.version)

    async def exchange() -> None:
        for one, other in ((here, there), (there, here)):
            news = any_order(await one.news(room_id, head.version), chance)
            await feed(other.server, room_id, news, chance)

    await exchange()
    await there.send(room_id, "m.room.member", {"membership": "join"}, str(there.user_id))
    await exchange()
    for _ in range(2):
        for _ in range(12):
            site = chance.choice((here, there))
            levels = users | {"@porter:hospital.example": chance.choice((0, 50))}
            event_type, content, state_key = chance.choice(
                [
                    ("m.room.message", {"body": "x"}, None),
                    ("m.room.topic", {"topic": str(chance.random())}, ""),
                    ("org.example.state", {"n": str(chance.random())}, chance.choice("ab")),
                    ("m.room.power_levels", {"users": levels}, ""),
                    ("m.room.member", {"membership": chance.choice(("ban", "leave"))}, "@porter:hospital.example"),
                ]
            )
            await site.send(room_id, event_type, content, state_key)
        await exchange()
        await here.send(room_id, "m.room.message", {"body": "back again"}, None)
        await exchange()
        await there.send(room_id, "m.room.message", {"body": "so we are"}, None)
        await exchange()
        states = [await state_of(site.server, room_id) for site in (here, there)]
        assert states[0] == states[1]
        tips = [[e for _, e in (await _head(site.server, room_id)).extremities] for site in (here, there)]
        assert tips[0] == tips[1] and len(tips[0]) == 1


def _founders(version: str) -> dict[str, int]:
    """Since v12 who made the room is not listed."""
    return {} if version == "12" else {"@alice:hospital.example": 100}


async def _head(server: Rooms, room_id: RoomId) -> Any:
    return await server.queues.heads.get(room_id)
