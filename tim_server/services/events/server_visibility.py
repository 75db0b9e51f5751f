"""Which events another server may see, and in which form.

A server stands for its users: it may see what any of them may, by the rules of history visibility. A server in the room
gets other events in their redacted form, which it needs in order to verify what comes after them; a server that has
left the room does not get them at all. State that is in place is no secret to a server in the room, whoever set it and
when.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.history_visibility import HistoryVisibility, Viewpoint, may_see, may_see_event
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.events.erased_users import WITHHELD, ErasedUsers
from tim_server.services.events.membership_history import MembershipHistory
from tim_server.services.events.visibility import EventVisibility
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow, load_history_visibility_nids
from tim_server.storage.room_servers import load_history_of_server
from tim_server.storage.state import StateNids, find_in_snapshots

MEMBER = "m.room.member"
HISTORY_VISIBILITY = "m.room.history_visibility"
OPEN = frozenset({HistoryVisibility.WORLD_READABLE, HistoryVisibility.SHARED})


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingServer:
    """A server that asks about a room in which it is, or was. `state` is what is in place there now."""

    name: ServerName
    room_nid: int
    is_joined: bool
    state: StateNids


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerVisibility:
    """Answers what servers may see of events of one room."""

    visibility: EventVisibility

    async def served(self, tx: Connection, asking: AskingServer, rows: Sequence[EventRow]) -> list[EventRow]:
        """Those of `rows` that the server is given, order kept; a row that must be given in redacted form is marked as
        one that is redacted."""
        hidden = await self.hidden(tx, asking, rows)
        erased = self.visibility.erased
        await erased.load(tx)
        served = [
            row if row.nid not in hidden else msgspec.structs.replace(row, redacted_by=row.redacted_by or WITHHELD)
            for row in rows
            if asking.is_joined or row.nid not in hidden
        ]
        return await _with_erased_users(tx, asking, erased, served)

    async def hidden(self, tx: Connection, asking: AskingServer, rows: Sequence[EventRow]) -> set[int]:
        """The nids of those events that the server may not see as they are."""
        uncertain = [row for row in rows if not _is_own_or_in_place(asking, row)]
        return await self._hidden(tx, asking, uncertain) if uncertain else set()

    async def _hidden(self, tx: Connection, asking: AskingServer, rows: Sequence[EventRow]) -> set[int]:
        snapshots = {row.snapshot for row in rows if row.snapshot is not None}
        changes = await load_history_visibility_nids(tx, [asking.room_nid])
        states = await find_in_snapshots(tx, snapshots, changes)
        visibilities = await self.visibility.history_visibilities(tx, rows, states)
        hidden = {row.nid for row in rows if row.snapshot is None}
        closed = [
            (row, row.snapshot)
            for row in rows
            if row.snapshot is not None and not _is_open(asking, visibilities[row.snapshot])
        ]
        if not closed:
            return hidden
        members = await load_history_of_server(tx, asking.room_nid, asking.name)
        memberships = {change.event_nid: change.membership for change in members}
        held = await find_in_snapshots(tx, {snapshot for _, snapshot in closed}, memberships)
        last_join = max((change.position for change in members if change.membership == "join"), default=0)
        for row, snapshot in closed:
            is_before_join = row.position is not None and (row.position, row.minor) < (last_join, 0)
            viewpoint = Viewpoint(
                history_visibility=visibilities[snapshot],
                membership=_best(held[snapshot], memberships),
                joined_later=asking.is_joined or is_before_join,
            )
            if not _may_see(viewpoint, row, asking.name):
                hidden.add(row.nid)
        return hidden


def _is_open(asking: AskingServer, history_visibility: HistoryVisibility) -> bool:
    """Whether the server may see every event that was sent under this setting."""
    if asking.is_joined:
        return history_visibility in OPEN
    return history_visibility is HistoryVisibility.WORLD_READABLE


def _is_own_or_in_place(asking: AskingServer, row: EventRow) -> bool:
    if row.sender.server_name == asking.name:
        return True
    return asking.is_joined and row.state_key is not None and asking.state.get((row.type, row.state_key)) == row.nid


def _best(nids: frozenset[int], memberships: Mapping[int, str]) -> str:
    """The membership, of those that these member events set, that sees the most."""
    found = {memberships[nid] for nid in nids}
    return "join" if "join" in found else "invite" if found else "leave"


def _may_see(viewpoint: Viewpoint, row: EventRow, name: ServerName) -> bool:
    is_own_membership = row.type == MEMBER and row.state_key is not None and UserId(row.state_key).server_name == name
    if not is_own_membership and row.type != HISTORY_VISIBILITY:
        return may_see(viewpoint)
    content = decode_lenient(row.body).get("content")
    return may_see_event(
        viewpoint,
        event_type=row.type,
        state_key=row.state_key,
        content=content if isinstance(content, dict) else {},
        user_id=row.state_key or "",
    )


async def _with_erased_users(
    tx: Connection, asking: AskingServer, erased: ErasedUsers, rows: list[EventRow]
) -> list[EventRow]:
    """The rows, where a server that was not in the room before a user was erased gets their messages redacted."""
    if not any(row.sender in erased.positions and row.state_key is None for row in rows):
        return rows
    history = MembershipHistory(await load_history_of_server(tx, asking.room_nid, asking.name))
    return [erased.served(row, history) for row in rows]
