"""The checks of an event against states of its room: by its auth events, by the state before it, by any other state.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth import auth_types_for, check_auth_events, check_auth_rules
from tim_server.matrix.event_auth.power_levels import PowerLevels
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.branches import StateNids
from tim_server.services.rooms.resolve_state import Pending

CREATE = ("m.room.create", "")
OF_ANOTHER_ROOM = "auth_events holds an event of another room"
POWER_LEVELS = ("m.room.power_levels", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCheck:
    """Checks events of one room. `pending` are those that are not stored yet, and grows while they are decided."""

    parsed: ParsedEvents
    version: RoomVersion
    pending: Mapping[int, Pending]

    async def load(self, nids: Iterable[int]) -> dict[int, Event]:
        """Parsed events, stored or pending; those that are remembered need no query."""
        found: dict[int, Event] = {}
        stored: list[int] = []
        for nid in nids:
            if nid in self.pending:
                found[nid] = self.pending[nid].event
            else:
                stored.append(nid)
        return found | await self.parsed.load(stored, self.version) if stored else found

    async def rejection(
        self, event: Event, auth: Mapping[EventId, int], before: StateNids, rejected: Collection[EventId]
    ) -> str | None:
        """Why the event is rejected, by its auth events (check 4) or by the state before it (check 5).

        `auth` are the nids of its `auth_ids`, of which some are themselves `rejected`.
        """
        of_state = self._auth_nids(event, before)
        events = await self.load({*auth.values(), *of_state.values()})
        cited = [events[auth[auth_id]] for auth_id in event.auth_events]
        by_key = {(e.type, e.state_key or ""): e for nid in auth.values() if (e := events[nid]).is_state}
        try:
            check_auth_events(event, cited, frozenset(rejected))
            check_auth_rules(event, by_key, self.version)
            if {*of_state.values()} != {*auth.values()}:
                check_auth_rules(event, {key: events[nid] for key, nid in of_state.items()}, self.version)
        except EventRejected as error:
            return str(error)
        return None

    async def is_allowed(self, event: Event, state: StateNids, *, since: StateNids) -> bool:
        """Whether a state allows the event, which is known to be allowed by another (check 6)."""
        of_state = self._auth_nids(event, state)
        if of_state == self._auth_nids(event, since):
            return True
        events = await self.load(of_state.values())
        try:
            check_auth_rules(event, {key: events[nid] for key, nid in of_state.items()}, self.version)
        except EventRejected:
            return False
        return True

    async def may_redact_others(self, sender: UserId, state: StateNids) -> bool:
        """Whether a state gives the user the power to redact what others have sent."""
        nids = {key: state[key] for key in (POWER_LEVELS, CREATE) if key in state}
        events = await self.load(nids.values())
        found = {key: events[nid] for key, nid in nids.items()}
        power = PowerLevels.of(found.get(POWER_LEVELS), found.get(CREATE))
        return power.user_level(sender) >= power.redact

    def _auth_nids(self, event: Event, state: StateNids) -> dict[tuple[str, str], int]:
        keys = auth_types_for(event.type, event.sender, event.state_key, event.content, self.version)
        return {key: state[key] for key in keys | {CREATE} if key in state}
