"""Deciding: from a room's head and drafts to the commit that stores them. Pure: no lock, no transaction, no clock.

Each draft is built on the events before it, authorised against the state that they leave, hashed and signed. A group
is decided as a whole: when one of its drafts is refused, nothing of the group remains.

Spec: https://spec.matrix.org/v1.19/server-server-api/#authorization-rules
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tim_server.matrix.canonical_json import CanonicalJsonError, encode
from tim_server.matrix.errors import BadJson, EventRejected, Forbidden, MatrixError
from tim_server.matrix.event_auth import auth_types_for, check_auth_rules
from tim_server.matrix.event_auth.power_levels import PowerLevels
from tim_server.matrix.events.build import Author, NewPdu, build_event
from tim_server.matrix.events.read import PREV_EVENTS_MAX
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.matrix.relations import relation_of
from tim_server.matrix.room_versions import EventFormat, RoomVersion
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.head import DEPTH_MAX, RoomHead, joined_servers_after
from tim_server.services.rooms.relate import NOTHING_RELATED, Related
from tim_server.services.rooms.servers_to_tell import remote_servers, servers_to_tell
from tim_server.storage.client_transactions import ClientTransaction
from tim_server.storage.new_events import NewEvent
from tim_server.storage.room_commit_records import MembershipChange, Owed, RoomCommit, StateChange
from tim_server.storage.state import DELTA_DEPTH_MAX, SnapshotRow

StateKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of the groups: an answer for each (event ids, or why not), and the commit and head if any passed.
    `events` are those of the commit, parsed."""

    answers: tuple[tuple[EventId, ...] | MatrixError, ...]
    commit: RoomCommit | None
    head: RoomHead
    events: tuple[Event, ...] = ()


def needed_keys(head: RoomHead, groups: Sequence[DraftGroup]) -> set[StateKey]:
    """Keys of the state that deciding these groups looks at."""
    keys: set[StateKey] = {("m.room.create", "")}
    for group in groups:
        for draft in group.drafts:
            keys |= auth_types_for(draft.type, draft.sender, draft.state_key, draft.content, head.version)
            if draft.state_key is not None:
                keys.add((draft.type, draft.state_key))
            if draft.redacts is not None:
                keys.add(("m.room.power_levels", ""))
    return keys


@dataclass(slots=True)
class _Growth:
    """What has been decided so far on top of the head."""

    head: RoomHead
    known: Mapping[int, Event]
    overlay: dict[StateKey, tuple[int, Event]] = field(default_factory=dict)
    events: list[NewEvent] = field(default_factory=list)
    built: list[Event] = field(default_factory=list)
    snapshots: list[SnapshotRow] = field(default_factory=list)
    memberships: list[MembershipChange] = field(default_factory=list)
    redactions: list[tuple[int, int]] = field(default_factory=list)
    transactions: list[ClientTransaction] = field(default_factory=list)
    outbox: list[Owed] = field(default_factory=list)
    extremities: tuple[tuple[int, EventId], ...] = ()
    depth: int = 0
    snapshot: int = 0
    snapshot_depth: int = 0
    joined_servers: Mapping[str, int] = field(default_factory=dict)
    remote_servers: tuple[ServerName, ...] = ()
    redacted: Collection[int] = ()
    related: Related = NOTHING_RELATED

    def is_redacted(self, nid: int) -> bool:
        """Whether a state event of `needed_keys` is redacted, before or by what has been decided."""
        return nid in self.redacted or any(target == nid for target, _ in self.redactions)

    @property
    def prev_events(self) -> tuple[tuple[int, EventId], ...]:
        """The forward extremities that the next event names: the newest, where there are too many for one event."""
        return self.extremities[-PREV_EVENTS_MAX:]

    def nid_of(self, key: StateKey) -> int | None:
        """The nid of the state event in place."""
        if key in self.overlay:
            return self.overlay[key][0]
        return self.head.state.get(key)

    def event_of(self, key: StateKey) -> Event | None:
        """The state event in place."""
        if key in self.overlay:
            return self.overlay[key][1]
        nid = self.head.state.get(key)
        return None if nid is None else self.known[nid]

    def copy(self) -> "_Growth":
        """A copy that can grow and be thrown away."""
        return replace(
            self,
            overlay=dict(self.overlay),
            events=list(self.events),
            built=list(self.built),
            snapshots=list(self.snapshots),
            memberships=list(self.memberships),
            redactions=list(self.redactions),
            transactions=list(self.transactions),
            outbox=list(self.outbox),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """What deciding needs besides the room: who signs, what time it is, and fresh nids (two a draft)."""

    author: Author
    now_ms: int
    nids: Iterator[int]

    def decide(
        self,
        head: RoomHead,
        groups: Sequence[DraftGroup],
        known: Mapping[int, Event],
        redacted: Collection[int] = (),
        related: Related = NOTHING_RELATED,
    ) -> Decision:
        """Decide the groups in order on `head`; `known` holds the events of `needed_keys`, `redacted` the nids of those
        that are redacted, `related` what the drafts' relations depend on."""
        growth = _Growth(
            head=head,
            known=known,
            extremities=head.extremities,
            depth=head.depth,
            snapshot=head.snapshot,
            snapshot_depth=head.snapshot_depth,
            joined_servers=head.joined_servers,
            remote_servers=remote_servers(head.joined_servers, self.author.server_name),
            redacted=redacted,
            related=related,
        )
        answers: list[tuple[EventId, ...] | MatrixError] = []
        for group in groups:
            attempt = growth.copy() if len(group.drafts) > 1 else growth
            try:
                answers.append(self._grow(attempt, group))
                growth = attempt
            except MatrixError as error:
                answers.append(error)
        return Decision(
            answers=tuple(answers),
            commit=_commit_of(growth) if growth.events else None,
            head=_head_of(growth) if growth.events else head,
            events=tuple(growth.built),
        )

    def _grow(self, growth: _Growth, group: DraftGroup) -> tuple[EventId, ...]:
        in_place = self._in_place(growth, group)
        if in_place is not None:
            return (in_place,)
        event_ids = tuple(self._append(growth, draft) for draft in group.drafts)
        if group.transaction is not None:
            growth.transactions.append(
                ClientTransaction(
                    user_id=group.transaction.user_id,
                    device_id=group.transaction.device_id,
                    key_hash=group.transaction.key_hash,
                    txn_id=group.transaction.txn_id,
                    event_nid=growth.events[-1].nid,
                    event_id=event_ids[-1],
                )
            )
        return event_ids

    def _in_place(self, growth: _Growth, group: DraftGroup) -> EventId | None:
        """The event that makes the group needless. What is in place is told only to who might change it: others get the
        refusal of the rules."""
        if group.unless is None and group.require is None:
            return None
        first = group.drafts[0]
        key = (first.type, first.state_key or "")
        present, nid = growth.event_of(key), growth.nid_of(key)
        if group.require is not None:
            try:
                group.require(None if present is None else present.content)
            except MatrixError:
                self._append(growth.copy(), first)
                raise
        # What is redacted has lost its content, so that sending the same again is not needless.
        if group.unless is None or present is None or nid is None or growth.is_redacted(nid):
            return None
        if not group.unless(present.sender, present.content):
            return None
        self._append(growth.copy(), first)
        return present.event_id

    def _append(self, growth: _Growth, draft: Draft) -> EventId:
        """Build, authorise and add one draft; nothing is changed when it is refused."""
        head = growth.head
        auth_keys = auth_types_for(draft.type, draft.sender, draft.state_key, draft.content, head.version)
        auth_state = {key: event for key in auth_keys if (event := growth.event_of(key)) is not None}
        auth_nids = {key: nid for key in auth_state if (nid := growth.nid_of(key)) is not None}
        ordered = sorted(auth_nids)
        nid = next(self.nids)
        new = NewPdu(
            room_id=None if _names_its_room(draft, head) else head.room_id,
            type=draft.type,
            state_key=draft.state_key,
            sender=draft.sender,
            content=draft.content,
            prev_events=tuple(event_id for _, event_id in growth.prev_events),
            auth_events=tuple(auth_state[key].event_id for key in ordered),
            depth=min(growth.depth + 1, DEPTH_MAX),
            origin_server_ts=self.now_ms if draft.origin_server_ts is None else draft.origin_server_ts,
            redacts=draft.redacts,
            event_id=self._assigned_id(nid, head),
        )
        if not head.version.enforces_canonical_json:
            _check_canonical(draft.content)
        event, body = build_event(new, head.version, self.author)
        create = growth.event_of(("m.room.create", ""))
        if create is not None and head.version.room_id_is_create_hash:
            auth_state[("m.room.create", "")] = create
        try:
            check_auth_rules(event, auth_state, head.version)
        except EventRejected as error:
            raise Forbidden(str(error)) from error
        if draft.target is not None:
            _check_may_redact(growth, draft)
        relation = relation_of(draft.type, draft.state_key, draft.content)
        if relation is not None:
            growth.related.check(draft, relation, growth.events)
        if _names_its_room(draft, head):
            growth.head = replace(head, room_id=event.room_id)
        self._add(growth, nid, (event, body), [auth_nids[key] for key in ordered], is_hidden=draft.is_hidden)
        if draft.target is not None:
            growth.redactions.append((draft.target.nid, growth.events[-1].nid))
        return event.event_id

    def _assigned_id(self, nid: int, head: RoomHead) -> EventId | None:
        """v1, v2: an id that this server never gives twice."""
        if head.version.event_format is not EventFormat.SENDER_ASSIGNED_ID:
            return None
        return EventId(f"${nid}.{self.now_ms}:{self.author.server_name}")

    def _add(
        self, growth: _Growth, nid: int, built: tuple[Event, bytes], auth_nids: Sequence[int], *, is_hidden: bool
    ) -> None:
        event, body = built
        key = (event.type, event.state_key) if event.state_key is not None else None
        replaces = growth.nid_of(key) if key else None
        relation = relation_of(event.type, event.state_key, event.content)
        growth.events.append(
            NewEvent(
                nid=nid,
                event_id=event.event_id,
                type=event.type,
                state_key=event.state_key,
                sender=event.sender,
                origin_server_ts=event.origin_server_ts,
                depth=event.depth,
                prev_nids=tuple(prev for prev, _ in growth.prev_events),
                auth_nids=tuple(auth_nids),
                body=body,
                snapshot=growth.snapshot,
                replaces=replaces,
                outlier=is_hidden,
                thread_id=None if relation is None else growth.related.thread_of(relation),
                relation=relation,
            )
        )
        growth.built.append(event)
        before = growth.event_of(key) if key else None
        told = servers_to_tell(event, before, growth.remote_servers, self.author.server_name)
        if told:
            growth.outbox.append(Owed(event_index=len(growth.events) - 1, destinations=told))
        growth.extremities = (*growth.extremities[:-PREV_EVENTS_MAX], (nid, event.event_id))
        growth.depth = event.depth
        if key is not None:
            self._set_state(growth, key, nid, event)

    def _set_state(self, growth: _Growth, key: StateKey, nid: int, event: Event) -> None:
        before = growth.event_of(key)
        replaced = growth.nid_of(key)
        growth.overlay[key] = (nid, event)
        snapshot = SnapshotRow(
            nid=next(self.nids),
            room_nid=growth.head.nid,
            parent=growth.snapshot,
            depth=growth.snapshot_depth + 1,
            added=(nid,),
            removed=() if replaced is None else (replaced,),
        )
        if snapshot.depth > DELTA_DEPTH_MAX or growth.snapshot == 0:
            whole = {**growth.head.state, **{k: n for k, (n, _) in growth.overlay.items()}}
            snapshot = replace(snapshot, parent=None, depth=0, added=tuple(sorted(whole.values())), removed=())
        growth.snapshots.append(snapshot)
        growth.snapshot, growth.snapshot_depth = snapshot.nid, snapshot.depth
        if event.type == "m.room.member":
            user_id = UserId(key[1])
            after = membership_of(event)
            growth.memberships.append(
                MembershipChange(event_index=len(growth.events) - 1, user_id=user_id, membership=after, event_nid=nid)
            )
            growth.joined_servers = joined_servers_after(
                growth.joined_servers, user_id, None if before is None else membership_of(before), after
            )
            growth.remote_servers = remote_servers(growth.joined_servers, self.author.server_name)


def _check_canonical(content: dict[str, Any]) -> None:
    """Nothing that newer room versions forbid is sent into rooms that would still take it."""
    try:
        encode(content)
    except CanonicalJsonError as error:
        raise BadJson(f"The content is not canonical JSON: {error}") from error


def _names_its_room(draft: Draft, head: RoomHead) -> bool:
    """Since v12 the create event has no room id: its hash becomes the room id."""
    return draft.type == "m.room.create" and head.version.room_id_is_create_hash


def membership_of(event: Event) -> str:
    """The membership that a member event states; what is no string counts as having left."""
    membership: Any = event.content.get("membership")
    return membership if isinstance(membership, str) else "leave"


def _check_may_redact(growth: _Growth, draft: Draft) -> None:
    """A client may redact its own user's events, or anybody's with the power to redact."""
    assert draft.target is not None
    if draft.target.sender == draft.sender:
        return
    create = growth.event_of(("m.room.create", ""))
    assert create is not None
    power = PowerLevels.of(growth.event_of(("m.room.power_levels", "")), create)
    if power.user_level(draft.sender) < power.redact:
        raise Forbidden("You don't have the power to redact events of others here")


def _commit_of(growth: _Growth) -> RoomCommit:
    head = growth.head
    return RoomCommit(
        room_nid=head.nid,
        room_id=head.room_id,
        room_version=head.version.identifier,
        expected_version=head.head_version,
        events=tuple(growth.events),
        forward_extremities=tuple(nid for nid, _ in growth.extremities),
        depth=growth.depth,
        snapshot=growth.snapshot,
        snapshots=tuple(growth.snapshots),
        state_changes=tuple(
            StateChange(type=key[0], state_key=key[1], event_nid=nid) for key, (nid, _) in growth.overlay.items()
        ),
        memberships=tuple(growth.memberships),
        redactions=tuple(growth.redactions),
        transactions=tuple(growth.transactions),
        outbox=tuple(growth.outbox),
    )


def _head_of(growth: _Growth) -> RoomHead:
    state = growth.head.state
    if growth.overlay:
        state = {**state, **{key: nid for key, (nid, _) in growth.overlay.items()}}
    return replace(
        growth.head,
        extremities=growth.extremities,
        depth=growth.depth,
        snapshot=growth.snapshot,
        snapshot_depth=growth.snapshot_depth,
        state=state,
        joined_servers=growth.joined_servers,
    )


def new_room_head(nid: int, room_id: RoomId, version: RoomVersion) -> RoomHead:
    """The head of a room that does not exist yet: no events, no state."""
    return RoomHead(
        nid=nid,
        room_id=room_id,
        version=version,
        head_version=None,
        extremities=(),
        depth=0,
        snapshot=0,
        snapshot_depth=0,
        state={},
        joined_servers={},
    )
