"""Rooms without HTTP: queues over a real store."""

import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import nacl.signing
import pytest

from tests.open_gate import open_gate
from tim_server.app.push import make_outcomes
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.signatures import SigningKey
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.draft import Draft, DraftGroup, TransactionKey
from tim_server.services.rooms.head import RoomHeads
from tim_server.services.rooms.queue import RoomNames, RoomQueues
from tim_server.services.rooms.receive import Receiver
from tim_server.services.rooms.resolve_state import StateResolver
from tim_server.storage.store import Store

SERVER = ServerName("hospital.example")
ALICE = UserId("@alice:hospital.example")
BOB = UserId("@bob:hospital.example")
_numbers = itertools.count()


@dataclass
class Rooms:
    """Queues, and short ways to use them."""

    store: Store
    queues: RoomQueues
    author: Author
    _sent: "itertools.count[int]" = field(default_factory=itertools.count)

    async def create(self, version: str = "11", *, join_rule: str = "public", **power: Any) -> RoomId:
        """A room of Alice's, public unless said otherwise."""
        return await create_room(self.queues, room_version(version), join_rule=join_rule, power=power)

    async def send(self, room_id: RoomId, sender: UserId, type: str = "m.room.message", **fields: Any) -> EventId:
        """An event; `state_key`, `content`, `txn_id` as wished."""
        txn_id = fields.pop("txn_id", None)
        content = fields.pop("content", {"body": f"message {next(self._sent)}", "msgtype": "m.text"})
        draft = Draft(type=type, sender=sender, content=content, **fields)
        transaction = TransactionKey(
            user_id=sender, device_id="DEVICE", txn_id=txn_id, endpoint=("send", room_id, type)
        )
        group = DraftGroup(drafts=(draft,), transaction=transaction if txn_id else None)
        (event_id,) = await self.queues.submit(room_id, group)
        return event_id

    async def member(self, room_id: RoomId, sender: UserId, membership: str, target: UserId | None = None) -> EventId:
        """A change of membership, by default the sender's own."""
        content = {"membership": membership}
        return await self.send(room_id, sender, "m.room.member", state_key=str(target or sender), content=content)


async def create_room(queues: RoomQueues, version: RoomVersion, *, join_rule: str, power: dict[str, Any]) -> RoomId:
    """The events that make a room, committed at once."""
    create: dict[str, Any] = {"room_version": version.identifier}
    if not version.implicit_room_creator:
        create["creator"] = ALICE
    users = {} if version.privileged_creators else {str(ALICE): 100}
    drafts = (
        Draft(type="m.room.create", sender=ALICE, content=create, state_key=""),
        Draft(type="m.room.member", sender=ALICE, content={"membership": "join"}, state_key=str(ALICE)),
        Draft(type="m.room.power_levels", sender=ALICE, content={"users": users, **power}, state_key=""),
        Draft(type="m.room.join_rules", sender=ALICE, content={"join_rule": join_rule}, state_key=""),
    )
    room_id = None if version.room_id_is_create_hash else RoomId(f"!room{next(_numbers)}:{SERVER}")
    created = await queues.create(room_id, version, DraftGroup(drafts=drafts), RoomNames())
    return created.room_id


@pytest.fixture(scope="module")
def author() -> Author:
    """The server that signs."""
    return Author(server_name=SERVER, key=SigningKey(key_id="ed25519:test", key=nacl.signing.SigningKey(b"\x01" * 32)))


def make_rooms(store: Store, author: Author) -> Rooms:
    """Queues over an opened store, wired as the server does."""
    heads = RoomHeads(store.database)
    store.commit_log.subscribe(heads.follow)
    parsed = ParsedEvents(store.database, store.codec)
    resolver = StateResolver(database=store.database, parsed=parsed)
    queues = RoomQueues(
        store=store,
        heads=heads,
        parsed=parsed,
        receiver=Receiver(store=store, parsed=parsed, resolver=resolver),
        outcomes=make_outcomes(store, parsed, author.server_name),
        gate=open_gate(store, author.server_name),
        author=author,
        now_ms=lambda: int(time.time() * 1000),
    )
    return Rooms(store=store, queues=queues, author=author)


@pytest.fixture(scope="module")
async def rooms(store: Store, author: Author) -> AsyncIterator[Rooms]:
    """Rooms over the module's store."""
    rooms = make_rooms(store, author)
    yield rooms
    await rooms.queues.close()
