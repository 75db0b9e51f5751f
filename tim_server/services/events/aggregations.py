"""Bundled aggregations: what the children of events add up to, as far as a reader may see them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.relations import REFERENCE, REPLACE, THREAD, Relation, relation_of
from tim_server.services.account_data.ignored import load_ignored_users
from tim_server.services.events.membership_history import NO_HISTORY, Histories
from tim_server.services.events.visibility import EventVisibility
from tim_server.storage.aggregations import (
    ParentEvent,
    ThreadCount,
    count_threads,
    find_related,
    newest_edits,
    newest_in_threads,
    references_of,
)
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow, load_events

_NO_END = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A thread: its newest event, about how many events it has, and whether the reader took part."""

    latest: EventRow
    count: int
    participated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """What is told of the children of one event: the newest `edit`, the `thread` that starts from it, `references`."""

    edit: EventRow | None = None
    thread: Thread | None = None
    references: Sequence[EventId] = ()

    @property
    def events(self) -> list[EventRow]:
        """The events that are told as a whole."""
        return [*([self.edit] if self.edit else []), *([self.thread.latest] if self.thread else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Children:
    """Nids of children by parent, best first, and sizes of threads."""

    edits: Mapping[EventId, Sequence[int]]
    threads: Mapping[EventId, Sequence[int]]
    references: Mapping[EventId, Sequence[int]]
    counts: Mapping[EventId, ThreadCount]

    @property
    def nids(self) -> set[int]:
        """All children."""
        listed = (*self.edits.values(), *self.threads.values(), *self.references.values())
        return {nid for nids in listed for nid in nids}


async def load_aggregations(
    tx: Connection, visibility: EventVisibility, user_id: UserId, parents: Iterable[EventRow], histories: Histories
) -> dict[int, Aggregation]:
    """What the user is told of the children of these events, by nid of the parent; one query where there are none.

    "Child events of the `latest_event` should themselves be aggregated", so those are looked at as well.
    """
    codec = visibility.codec
    messages = [row for row in parents if row.state_key is None]
    related = await find_related(tx, [row.event_id for row in messages], (REPLACE, THREAD, REFERENCE))
    if not related:
        return {}
    ignored = await load_ignored_users(tx, codec, user_id)
    level = _Level(visibility=visibility, user_id=user_id, histories=histories, ignored=ignored)
    found = await level.load(tx, messages, related)
    latest = [a.thread.latest for a in found.values() if a.thread is not None and a.thread.latest.nid not in found]
    if not latest:
        return found
    # What is in a thread can't be the root of another one.
    beneath = await find_related(tx, [row.event_id for row in latest], (REPLACE, REFERENCE))
    return await level.load(tx, latest, beneath) | found if beneath else found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """Loads the aggregations of some parents."""

    visibility: EventVisibility
    user_id: UserId
    histories: Histories
    ignored: Collection[str]

    async def load(
        self, tx: Connection, rows: Sequence[EventRow], related: Collection[tuple[EventId, str]]
    ) -> dict[int, Aggregation]:
        children = await self._children(tx, rows, related)
        beside = await load_events(tx, self.visibility.codec, children.nids)
        seen = {row.nid: row for row in await self._visible(tx, beside.values())}
        found = {row.nid: self._aggregation(row, children, seen) for row in rows}
        return {nid: aggregation for nid, aggregation in found.items() if aggregation is not None}

    async def _visible(self, tx: Connection, rows: Iterable[EventRow]) -> list[EventRow]:
        return await self.visibility.visible(tx, self.user_id, list(rows), self.histories)

    async def _children(
        self, tx: Connection, rows: Sequence[EventRow], related: Collection[tuple[EventId, str]]
    ) -> _Children:
        with_edits, roots, referenced = [], [], []
        for row in rows:
            relation = own_relation(row)
            # "If the original event is redacted, any `m.replace` relationship should not be bundled with it", nor may
            # "the original event […], itself, have a `rel_type` of `m.replace`".
            is_original = row.redacted_by is None and (relation is None or relation.rel_type != REPLACE)
            if is_original and (row.event_id, REPLACE) in related:
                with_edits.append(self._parent(row))
            if relation is None and (row.event_id, THREAD) in related:
                roots.append(self._parent(row))
            if (row.event_id, REFERENCE) in related:
                referenced.append(self._parent(row))
        return _Children(
            edits=await newest_edits(tx, with_edits),
            threads=await newest_in_threads(tx, roots, ignored=self.ignored),
            references=await references_of(tx, referenced, ignored=self.ignored),
            counts=await count_threads(tx, roots, reader=self.user_id, ignored=self.ignored),
        )

    def _parent(self, row: EventRow) -> ParentEvent:
        """The parent with its end for the reader: nothing that came after they left counts, until they are invited."""
        history = self.histories.get(row.room_nid, NO_HISTORY)
        newest = history.newest
        end = None
        if newest is not None and newest.membership not in ("join", "invite"):
            end = history.leaving or newest
        return ParentEvent(
            event_id=row.event_id,
            room_nid=row.room_nid,
            type=row.type,
            sender=row.sender,
            until=_NO_END if end is None else end.position,
        )

    def _aggregation(self, row: EventRow, children: _Children, seen: Mapping[int, EventRow]) -> Aggregation | None:
        edits = [seen[nid] for nid in children.edits.get(row.event_id, ()) if nid in seen]
        threaded = [seen[nid] for nid in children.threads.get(row.event_id, ()) if nid in seen]
        references = [seen[nid].event_id for nid in children.references.get(row.event_id, ()) if nid in seen]
        if row.sender in self.ignored:
            edits = []
        thread = None
        if threaded:
            count = children.counts[row.event_id]
            participated = count.has_own or row.sender == self.user_id
            thread = Thread(latest=threaded[0], count=count.count, participated=participated)
        if not edits and thread is None and not references:
            return None
        return Aggregation(edit=edits[0] if edits else None, thread=thread, references=references)


def own_relation(row: EventRow) -> Relation | None:
    """How the event itself relates to another; a redacted one does no more."""
    if row.redacted_by is not None or b'"m.relates_to"' not in row.body:
        return None
    content = decode_lenient(row.body).get("content")
    return relation_of(row.type, row.state_key, content) if isinstance(content, dict) else None
