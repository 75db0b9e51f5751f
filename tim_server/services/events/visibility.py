"""Which events a user may see: history visibility and membership in the state at each event.

An event that this server built stands on the head of its room, so the user's resolved membership just before it is the
membership in its state: a joined user's page costs no look at any state. For events of other servers, which may stand
on a fork, the state before the event decides, as its snapshot tells.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.history_visibility import (
    HistoryVisibility,
    Viewpoint,
    history_visibility_of,
    may_see,
    may_see_event,
)
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.events.erased_users import ErasedUsers
from tim_server.services.events.membership_history import NO_HISTORY, Histories, MembershipHistory
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow, load_bodies, load_history_visibility_nids
from tim_server.storage.former_members import load_former_members
from tim_server.storage.memberships import load_history_of_user
from tim_server.storage.state import SnapshotCache, find_in_snapshots
from tim_server.storage.timeline import Place

REMEMBERED_MAX = 50_000


async def load_histories(tx: Connection, user_id: UserId, room_nids: Iterable[int]) -> dict[int, MembershipHistory]:
    """The user's history in each of these rooms, in one query."""
    loaded = await load_history_of_user(tx, user_id, list(room_nids))
    return {room_nid: MembershipHistory(changes) for room_nid, changes in loaded.items()}


def is_presentable(row: EventRow) -> bool:
    """Whether clients may see the event at all: it has a place in the timeline, and was accepted."""
    return row.position is not None and row.rejected is None and not row.soft_failed


@dataclass(slots=True, kw_only=True)
class EventVisibility:
    """Answers who may see which stored events; remembers the history visibility of snapshots."""

    server_name: ServerName
    codec: Codec
    snapshots: SnapshotCache
    erased: ErasedUsers = field(default_factory=ErasedUsers)
    remembered_max: int = REMEMBERED_MAX
    _remembered: OrderedDict[int, HistoryVisibility] = field(default_factory=OrderedDict)

    async def visible(
        self, tx: Connection, user_id: UserId, rows: Sequence[EventRow], histories: Histories
    ) -> list[EventRow]:
        """Those of `rows` that the user may see, order kept; messages of erased users whom they have not met in a form
        that is redacted. `histories` holds the user's history in their rooms."""
        presentable = [row for row in rows if is_presentable(row)]
        uncertain = [row for row in presentable if not self.is_plain(row, histories.get(row.room_nid, NO_HISTORY))]
        if not uncertain:
            return presentable
        former = await self._former_memberships(tx, user_id, uncertain)
        states = await self._states(tx, uncertain, histories, former)
        visibilities = await self.history_visibilities(tx, uncertain, states)
        hidden = set()
        for row in uncertain:
            history = histories.get(row.room_nid, NO_HISTORY)
            state = frozenset() if row.snapshot is None else states.get(row.snapshot, frozenset())
            viewpoint = Viewpoint(
                history_visibility=HistoryVisibility.JOINED if row.snapshot is None else visibilities[row.snapshot],
                membership=self._membership_before(row, history, state, former),
                joined_later=history.joined_later(_place(row)),
            )
            if not _may_see(row, user_id, viewpoint):
                hidden.add(row.nid)
        await self.erased.load(tx)
        served = {row.nid: self.erased.served(row, histories.get(row.room_nid, NO_HISTORY)) for row in uncertain}
        return [served.get(row.nid, row) for row in presentable if row.nid not in hidden]

    def is_plain(self, row: EventRow, history: MembershipHistory) -> bool:
        """Whether it is certain without any state that the user may see the event: they were joined, and this server
        built it on the head of its room."""
        if row.position is None or row.minor != 0 or row.sender.server_name != self.server_name:
            return False
        return history.before((row.position, row.minor)) == "join"

    async def history_visibilities(
        self, tx: Connection, rows: Iterable[EventRow], states: Mapping[int, frozenset[int]]
    ) -> dict[int, HistoryVisibility]:
        """The history visibility in each snapshot of `rows`; `states` holds the snapshots."""
        wanted = {row.snapshot: row.room_nid for row in rows if row.snapshot is not None}
        known = {snapshot: self._remembered[snapshot] for snapshot in wanted if snapshot in self._remembered}
        missing = wanted.keys() - known.keys()
        if missing:
            nids = await load_history_visibility_nids(tx, {wanted[snapshot] for snapshot in missing})
            in_place = {snapshot: next(iter(nids & states.get(snapshot, frozenset())), None) for snapshot in missing}
            bodies = await load_bodies(tx, self.codec, {nid for nid in in_place.values() if nid is not None})
            for snapshot, nid in in_place.items():
                known[snapshot] = history_visibility_of(None if nid is None else _content_of(bodies[nid]))
                self._remembered[snapshot] = known[snapshot]
            while len(self._remembered) > self.remembered_max:
                self._remembered.popitem(last=False)
        return known

    async def _states(
        self, tx: Connection, rows: Sequence[EventRow], histories: Histories, former: Collection[int]
    ) -> Mapping[int, frozenset[int]]:
        """The snapshots of these events, as far as they decide who sees what: those of a large room are not unpacked
        for one page."""
        snapshots = {row.snapshot for row in rows if row.snapshot is not None}
        remembered = self.snapshots.remembered(snapshots)
        if remembered is not None:
            return remembered
        room_nids = {row.room_nid for row in rows}
        candidates = await load_history_visibility_nids(tx, room_nids)
        candidates.update(former)
        candidates.update(c.event_nid for nid in room_nids for c in histories.get(nid, NO_HISTORY).changes)
        return await find_in_snapshots(tx, snapshots, candidates)

    async def _former_memberships(self, tx: Connection, user_id: UserId, rows: Iterable[EventRow]) -> Mapping[int, str]:
        """The memberships that the user's member events set of which their history does not tell: in the state at
        events that were fetched as history."""
        room_nids = {row.room_nid for row in rows if row.minor != 0}
        if not room_nids:
            return {}
        bodies = await load_former_members(tx, self.codec, user_id, room_nids)
        return {nid: str(_content_of(body).get("membership")) for nid, body in bodies.items()}

    def _membership_before(
        self, row: EventRow, history: MembershipHistory, state: frozenset[int], former: Mapping[int, str]
    ) -> str:
        if row.snapshot is None or (row.sender.server_name == self.server_name and row.minor == 0):
            return history.before(_place(row))
        in_state = next((former[nid] for nid in former if nid in state), None)
        return history.within(state) if in_state is None else in_state

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._remembered.clear()


def _place(row: EventRow) -> Place:
    assert row.position is not None
    return row.position, row.minor


def _may_see(row: EventRow, user_id: UserId, viewpoint: Viewpoint) -> bool:
    if not _may_change_viewpoint(row, user_id):
        return may_see(viewpoint)
    return may_see_event(
        viewpoint, event_type=row.type, state_key=row.state_key, content=_content_of(row.body), user_id=user_id
    )


def _may_change_viewpoint(row: EventRow, user_id: UserId) -> bool:
    if row.type == "m.room.history_visibility":
        return row.state_key == ""
    return row.type == "m.room.member" and row.state_key == user_id


def _content_of(body: bytes) -> dict[str, object]:
    content = decode_lenient(body).get("content")
    return content if isinstance(content, dict) else {}
