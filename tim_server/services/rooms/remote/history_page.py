"""A page of history as another server tells it: what of it continues the history that is here. Pure.

Nothing counts but what can be reached from events that are named by what is stored: other events may be in the answer,
and are left alone. So whatever a server answers, a page is finite, has no event twice and leads backwards. The depth
that events claim decides only the order of those that do not know of each other.
"""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId

OPEN_ENDS_WANTED = 3
"""At how many events at most a page should end: for each of them, its state must be asked for."""
OPEN_ENDS_MAX = 25
MISSING_MAX = 200
"""How many events a hole may name; the others will be reached through those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An event of a page, and what it names as before it. `event` None: it did not pass the checks and is left out of
    the history, but the way back leads through it."""

    prev_events: Sequence[EventId]
    event: Event | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """The part of an answer that is taken. `order` has the newest first, each before those that it names.
    `open_ends` are those of them that name events which are neither here nor in the page: `missing`, with what was
    asked for and not told."""

    order: Sequence[EventId]
    links: Mapping[EventId, Link]
    open_ends: Sequence[EventId]
    missing: Sequence[EventId]


def page_of(
    wanted: Sequence[EventId],
    links: Mapping[EventId, Link],
    known: Collection[EventId],
    elsewhere: Collection[EventId] = (),
) -> HistoryPage | None:
    """The page that leads back from the `wanted` events. It ends at `known` events, which are here with the state
    before them, and at those that are `elsewhere`, in other rooms: they are no history of this one, but the state after
    them is not known.

    None where the links are of no use: nothing of what is wanted is told or known, events lead back to themselves
    (which room versions 1 and 2 can't rule out), or more events stand at the page's end than can be asked about.
    """
    found = {*known, *elsewhere}
    told = [event_id for event_id in wanted if event_id in links and event_id not in found]
    untold = [event_id for event_id in wanted if event_id not in links and event_id not in found]
    reached = _reached(told, links, found)
    order: Sequence[EventId] = _newest_first(reached, links)
    if len(untold) == len(wanted) or len(order) < len(reached):
        return None
    order, open_ends = _cut(order, links, known)
    if len(open_ends) > OPEN_ENDS_MAX:
        return None
    kept = set(order)
    beyond = (e for end in open_ends for e in links[end].prev_events if e not in kept and e not in found)
    left = (event_id for event_id in told if event_id not in kept)
    missing = tuple(dict.fromkeys((*beyond, *left, *untold)))[:MISSING_MAX]
    return HistoryPage(order=order, links=links, open_ends=open_ends, missing=missing)


def _reached(start: Iterable[EventId], links: Mapping[EventId, Link], known: Collection[EventId]) -> set[EventId]:
    reached: set[EventId] = set()
    waiting = list(start)
    while waiting:
        event_id = waiting.pop()
        if event_id not in reached:
            reached.add(event_id)
            waiting += [e for e in links[event_id].prev_events if e in links and e not in known]
    return reached


def _newest_first(reached: set[EventId], links: Mapping[EventId, Link]) -> list[EventId]:
    """The reached events, each before those that it names; without those that lead back to themselves."""
    waits_for = dict.fromkeys(reached, 0)
    for event_id in reached:
        for prev in set(links[event_id].prev_events) & reached:
            waits_for[prev] += 1
    ready = [_ranked(event_id, links) for event_id, count in waits_for.items() if not count]
    heapq.heapify(ready)
    ordered = []
    while ready:
        *_, event_id = heapq.heappop(ready)
        ordered.append(event_id)
        for prev in set(links[event_id].prev_events) & reached:
            waits_for[prev] -= 1
            if not waits_for[prev]:
                heapq.heappush(ready, _ranked(prev, links))
    return ordered


def _ranked(event_id: EventId, links: Mapping[EventId, Link]) -> tuple[int, int, EventId]:
    event = links[event_id].event
    return (0, 0, event_id) if event is None else (-event.depth, -event.origin_server_ts, event_id)


def _cut(
    order: Sequence[EventId], links: Mapping[EventId, Link], known: Collection[EventId]
) -> tuple[Sequence[EventId], Sequence[EventId]]:
    """As many of the newest events as end in few open ends, and these: where no cut does, in as few as may be."""
    lacking: dict[EventId, int] = {}
    named_by: dict[EventId, list[EventId]] = {}
    best, best_rank = 0, (1, 0)
    for count, event_id in enumerate(order, start=1):
        for citing in named_by.pop(event_id, ()):
            lacking[citing] -= 1
            if not lacking[citing]:
                del lacking[citing]
        open_prevs = {e for e in links[event_id].prev_events if e not in known}
        if open_prevs:
            lacking[event_id] = len(open_prevs)
        for prev in open_prevs:
            named_by.setdefault(prev, []).append(event_id)
        rank = (-max(len(lacking), OPEN_ENDS_WANTED), count)
        if not best or rank > best_rank:
            best, best_rank = count, rank
    return order[:best], _open_ends(order[:best], links, known)


def _open_ends(
    order: Sequence[EventId], links: Mapping[EventId, Link], known: Collection[EventId]
) -> Sequence[EventId]:
    kept = set(order)
    return tuple(e for e in order if any(p not in kept and p not in known for p in links[e].prev_events))
