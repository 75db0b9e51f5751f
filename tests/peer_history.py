"""History of a room that a peer made by hand gives, page by page, and what lets others check it.

history = PeerHistory(room)
history.serve(peer)
history.alter_page = lambda pdus: pdus + [...]      # what is told instead
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.peer import Asked, Peer
from tests.peer_room import FEDERATION, PeerRoom
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId

V1 = f"{FEDERATION}/v1"


@dataclass
class PeerHistory:
    """Answers about a room's history. A test may put its own functions into `alter_…`: they get each answer before it
    is sent. `limit_max` bounds a page."""

    room: PeerRoom
    limit_max: int = 100
    alter_page: Callable[[list[Any]], Any] = lambda pdus: pdus
    alter_ids: Callable[[dict[str, Any]], Any] = lambda ids: ids
    alter_time: Callable[[dict[str, Any]], Any] = lambda found: found
    alter_missing: Callable[[list[Any]], Any] = lambda pdus: pdus

    def page(self, event_ids: list[str], limit: int) -> list[Event]:
        """These events and what precedes them, the deepest first."""
        waiting, found = [EventId(event_id) for event_id in event_ids], dict[EventId, Event]()
        while waiting and len(found) < limit:
            waiting.sort(key=lambda event_id: self.room.events[event_id].depth if event_id in self.room.events else 0)
            event_id = waiting.pop()
            if event_id in self.room.events and event_id not in found:
                found[event_id] = self.room.events[event_id]
                waiting += found[event_id].prev_events
        return list(found.values())

    def between(self, latest: list[str], earliest: list[str], limit: int) -> list[Event]:
        """What leads to the latest, back to the earliest, the oldest first."""
        known = {EventId(event_id) for event_id in earliest}
        waiting = [prev for event_id in latest for prev in self.room.events[EventId(event_id)].prev_events]
        found: dict[EventId, Event] = {}
        while waiting and len(found) < limit:
            event_id = waiting.pop(0)
            if event_id in self.room.events and event_id not in known and event_id not in found:
                found[event_id] = self.room.events[event_id]
                waiting += found[event_id].prev_events
        return list(reversed(found.values()))

    def serve(self, peer: Peer) -> None:
        """Have the peer answer what is asked about history."""
        room = self.room

        async def backfill(asked: Asked) -> Any:
            limit = min(int(asked.query["limit"]), self.limit_max)
            pdus = [event.pdu for event in self.page(asked.query.getall("v"), limit)]
            return {"origin": peer.name, "origin_server_ts": 1, "pdus": self.alter_page(pdus)}

        async def state_ids(asked: Asked) -> Any:
            state = list(room.before[EventId(asked.query["event_id"])].values())
            ids = {
                "pdu_ids": [event.event_id for event in state],
                "auth_chain_ids": [event.event_id for event in room.auth_chain(state)],
            }
            return self.alter_ids(ids)

        async def state(asked: Asked) -> Any:
            events = list(room.before[EventId(asked.query["event_id"])].values())
            chain = room.auth_chain(events)
            return {"pdus": [event.pdu for event in events], "auth_chain": [event.pdu for event in chain]}

        async def missing(asked: Asked) -> Any:
            wanted = asked.json
            limit = min(wanted["limit"], self.limit_max)
            found = self.between(wanted["latest_events"], wanted["earliest_events"], limit)
            return {"events": self.alter_missing([event.pdu for event in found])}

        async def event(asked: Asked) -> Any:
            found = room.events.get(EventId(unquote(asked.path).rpartition("/")[2]))
            return None if found is None else {"origin": peer.name, "origin_server_ts": 1, "pdus": [found.pdu]}

        async def by_time(asked: Asked) -> Any:
            ts, is_back = int(asked.query["ts"]), asked.query["dir"] == "b"
            times = {
                e.origin_server_ts: e.event_id for e in room.events.values() if (e.origin_server_ts <= ts) == is_back
            }
            nearest = (max(times) if is_back else min(times)) if times else None
            found = None if nearest is None else {"event_id": times[nearest], "origin_server_ts": nearest}
            return found if found is None else self.alter_time(found)

        peer.answers["GET", f"{V1}/timestamp_to_event/{room.room_id}"] = by_time
        peer.answers["GET", f"{V1}/backfill/{room.room_id}"] = backfill
        peer.answers["GET", f"{V1}/state_ids/{room.room_id}"] = state_ids
        peer.answers["GET", f"{V1}/state/{room.room_id}"] = state
        peer.answers["GET", f"{V1}/event/*"] = event
        peer.answers["POST", f"{V1}/get_missing_events/{room.room_id}"] = missing
