"""Work for the writer: small room commits and small writes."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.storage.database import Connection
from tim_server.storage.new_events import NewEvent
from tim_server.storage.room_commit_records import RoomCommit
from tim_server.storage.store import Store

ALICE = UserId("@alice:hospital.example")
_numbers = itertools.count()


async def room_commit(store: Store, **changes: object) -> RoomCommit:
    """A new room with one event, unless `changes` say otherwise."""
    event_nid, room_nid = await store.writer.take_nids(2)
    number = next(_numbers)
    event = NewEvent(
        nid=event_nid,
        event_id=EventId(f"$event{number}"),
        type="m.room.create",
        state_key="",
        sender=ALICE,
        origin_server_ts=1,
        depth=1,
        prev_nids=(),
        auth_nids=(),
        body=b'{"type":"m.room.create"}',
        snapshot=0,
    )
    fields: dict[str, object] = {
        "room_nid": room_nid,
        "room_id": RoomId(f"!room{number}:hospital.example"),
        "room_version": "11",
        "expected_version": None,
        "events": (event,),
        "forward_extremities": (event_nid,),
        "depth": 1,
        "snapshot": 0,
    }
    return RoomCommit(**(fields | changes))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Probe:
    """A small write that does what its `act` does, at once or awaited; by default it returns its position."""

    act: Callable[[Connection, int], Any] = lambda _tx, position: position
    users: tuple[UserId, ...] = (ALICE,)
    streams: tuple[str, ...] = ("probe",)

    async def store(self, tx: Connection, position: int) -> Any:
        value = self.act(tx, position)
        return await value if isawaitable(value) else value


@dataclass(frozen=True)
class Statement:
    """A small write that executes `sql`, which takes no parameters."""

    sql: str
    users: tuple[UserId, ...] = (ALICE,)
    streams: tuple[str, ...] = ("probe",)

    async def store(self, tx: Connection, position: int) -> int:
        await tx.execute(self.sql)
        return position
