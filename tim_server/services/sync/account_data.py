"""Account data of an answer: global and by room.

Spec: https://spec.matrix.org/v1.19/client-server-api/#client-config
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from tim_server.services.account_data.ignored import IGNORED_USERS, ignored_users
from tim_server.services.push_rules.read import PUSH_RULES_EVENT, push_rules_content, rules_of
from tim_server.services.sync.request import Reading
from tim_server.storage.account_data import (
    GLOBAL,
    AccountDataEntry,
    read_account_data,
    read_all_account_data,
    read_changed_account_data,
)
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.push_rules import read_push_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDataChanges:
    """Events as JSON: global ones, and those of rooms by room id. `ignored` are the users whom the user ignores."""

    of_user: Sequence[bytes] = ()
    of_rooms: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


async def load_account_data(tx: Connection, codec: Codec, reading: Reading, now: int) -> AccountDataChanges:
    """What was set since the client last looked; in a first answer everything, push rules included."""
    if reading.since is None:
        changed = await read_all_account_data(tx, codec, reading.user_id)
    else:
        changed = await read_changed_account_data(tx, codec, reading.user_id, after=reading.since, up_to=now)
    content = next((e.content for e in changed if e.room_id == GLOBAL and e.type == IGNORED_USERS), None)
    if content is None and reading.since is not None:
        content = await read_account_data(tx, codec, reading.user_id, room_id=GLOBAL, event_type=IGNORED_USERS)
    wanted = reading.filter.account_data
    if wanted.allows(PUSH_RULES_EVENT):
        changed += await _load_push_rules(tx, codec, reading)
    return AccountDataChanges(
        of_user=[_event(entry) for entry in changed if entry.room_id == GLOBAL and wanted.allows(entry.type)],
        of_rooms=_of_rooms(reading, changed),
        ignored=ignored_users(content, reading.user_id),
    )


async def load_room_account_data(
    tx: Connection, codec: Codec, reading: Reading, room_ids: Iterable[str]
) -> dict[str, list[bytes]]:
    """All account data of these rooms, which are new to the client."""
    wanted = set(room_ids)
    if not wanted:
        return {}
    entries = await read_all_account_data(tx, codec, reading.user_id)
    return _of_rooms(reading, [entry for entry in entries if entry.room_id in wanted])


def _of_rooms(reading: Reading, entries: Iterable[AccountDataEntry]) -> dict[str, list[bytes]]:
    wanted = reading.filter.room.account_data
    of_rooms: dict[str, list[bytes]] = {}
    for entry in entries:
        if entry.room_id != GLOBAL and wanted.allows_room(entry.room_id) and wanted.allows(entry.type):
            of_rooms.setdefault(entry.room_id, []).append(_event(entry))
    return of_rooms


def _event(entry: AccountDataEntry) -> bytes:
    return b"".join((b'{"type":', orjson.dumps(entry.type), b',"content":', entry.content, b"}"))


async def _load_push_rules(tx: Connection, codec: Codec, reading: Reading) -> list[AccountDataEntry]:
    """The push rules where they have changed, and in a first answer always: clients wait for them."""
    stored = await read_push_rules(tx, codec, reading.user_id)
    position = 0 if stored is None else stored.position
    if reading.since is not None and position <= reading.since:
        return []
    content = push_rules_content(rules_of(reading.user_id, stored))
    return [AccountDataEntry(room_id=GLOBAL, type=PUSH_RULES_EVENT, content=content, position=position)]
