"""Templates of member events, for users of other servers who want to come in, or out.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import EventRejected, Forbidden
from tim_server.matrix.event_auth import auth_types_for, check_auth_rules
from tim_server.matrix.events.read import PREV_EVENTS_MAX, read_stored_pdu
from tim_server.matrix.identifiers import EventId, ServerName, UserId
from tim_server.matrix.room_versions import EventFormat
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.head import DEPTH_MAX, RoomHead
from tim_server.services.rooms.member_content import MEMBER

CREATE = ("m.room.create", "")
NO_ID = EventId("$template")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberTemplates:
    """Makes templates on the head of a room."""

    server_name: ServerName
    parsed: ParsedEvents
    now_ms: Callable[[], int]

    async def make(self, head: RoomHead, user_id: UserId, content: Mapping[str, Any]) -> dict[str, Any]:
        """The user's own member event, which the user's server makes its own and signs. Raises `Forbidden` where the
        room's state does not allow it."""
        version = head.version
        listed = auth_types_for(MEMBER, user_id, user_id, content, version)
        nids = {key: head.state[key] for key in listed | {CREATE} if key in head.state}
        events = await self.parsed.load(nids.values(), version)
        state = {key: events[nid] for key, nid in nids.items()}
        pairs = version.event_format is EventFormat.SENDER_ASSIGNED_ID
        prev_events = [event_id for _, event_id in head.extremities[-PREV_EVENTS_MAX:]]
        auth_events = [state[key].event_id for key in sorted(listed & state.keys())]
        template = {
            "type": MEMBER,
            "room_id": head.room_id,
            "sender": user_id,
            "state_key": user_id,
            "content": {**content},
            "prev_events": [[event_id, {}] for event_id in prev_events] if pairs else prev_events,
            "auth_events": [[event_id, {}] for event_id in auth_events] if pairs else auth_events,
            "depth": min(head.depth + 1, DEPTH_MAX),
            "origin": self.server_name,
            "origin_server_ts": self.now_ms(),
        }
        try:
            check_auth_rules(read_stored_pdu(template, version, NO_ID), state, version)
        except EventRejected as error:
            raise Forbidden(f"The room does not allow it: {error}") from error
        return template
