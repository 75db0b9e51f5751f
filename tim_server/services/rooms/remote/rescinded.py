"""Invites and knocks of our users that somebody in the room takes back or refuses: a leave or a ban, which reaches us
though this server is not in the room.

The room's state is not known, so the event can't be authorised. What counts is that it is signed, and cites the invite
or the knock: that is known only to servers in the room, and to ours.

Spec: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, InvalidIdentifier, RoomId, UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.outside import OutsideChange, OutsideMemberships
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.outside_memberships import OutsideRow

MEMBER = "m.room.member"
WAITING = frozenset({"invite", "knock"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescissions:
    """Takes them in."""

    check: PduCheck
    gate: TrustGate
    outside: OutsideMemberships

    async def receive(self, room_id: RoomId, pdus: Sequence[Any]) -> dict[EventId, str | None]:
        """What became of those PDUs that end an invite or a knock of a local user, None for what was taken in. Other
        PDUs are left out."""
        outcomes: dict[EventId, str | None] = {}
        users = {*self._users_in(pdus)}
        rows = await self.outside.find(room_id, users) if users else {}
        for user_id, row in rows.items():
            if row.membership not in WAITING:
                continue
            of_user = [pdu for pdu in pdus if _ends_membership(pdu) and pdu["state_key"] == user_id]
            checked = await self.check.check(of_user, room_version(row.room_version), room_id)
            outcomes |= checked.refused
            for event in checked.events:
                outcomes[event.event_id] = await self._take_in(event, row)
        return outcomes

    def _users_in(self, pdus: Iterable[Any]) -> Iterable[UserId]:
        """Local users whose membership one of the PDUs ends."""
        for pdu in pdus:
            try:
                user_id = UserId.parse(pdu["state_key"]) if _ends_membership(pdu) else None
            except InvalidIdentifier:
                continue
            if user_id is not None and user_id.server_name == self.outside.server_name:
                yield user_id

    async def _take_in(self, event: Event, row: OutsideRow) -> str | None:
        if row.event.event_id not in event.auth_events:
            return "the event does not cite the membership that it ends"
        if not (await self.gate.verdict(event.sender.server_name, ChokePoint.MEMBERSHIP)).is_allowed:
            return f"{event.sender.server_name} is not part of the federation of this server"
        change = OutsideChange(event=event, instead_of=WAITING, answers=row.event.event_id)
        try:
            is_stored = await self.outside.put(change)
        except Forbidden:
            return None  # ended meanwhile
        return None if is_stored else "the room has been joined meanwhile; send the event again"


def _ends_membership(pdu: Any) -> bool:
    """Whether a PDU is a leave or a ban of somebody by somebody else."""
    if not isinstance(pdu, dict) or pdu.get("type") != MEMBER or not isinstance(pdu.get("state_key"), str):
        return False
    content = pdu.get("content")
    membership = content.get("membership") if isinstance(content, dict) else None
    return membership in ("leave", "ban") and pdu.get("sender") != pdu["state_key"]
