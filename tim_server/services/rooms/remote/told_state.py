"""What another server tells of a room that this server is not in, with an invite or in answer to a knock.

Spec: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import InvalidParam
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.matrix.stripped_state import stripped, stripped_json
from tim_server.services.rooms.remote.check_pdus import PduCheck

EVENTS_MAX = 30
"""How many events may be told; servers tell about ten."""
STRIPPED_BYTES_MAX = 65_536
"""How much of what is told is kept."""
CREATE = "m.room.create"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldState:
    """Reads it."""

    check: PduCheck

    async def read_invited(self, told: Sequence[Any], version: RoomVersion, room_id: RoomId, user_id: UserId) -> bytes:
        """The stripped state of `invite_room_state` as a JSON array. Raises `InvalidParam` for too many events; since
        v12 also where an event does not verify, or the create event is not among them as a whole event.

        Servers are about to send whole events instead of stripped ones: what is stripped still is taken as it is.
        """
        if len(told) > EVENTS_MAX:
            raise InvalidParam(f"invite_room_state has more than {EVENTS_MAX} events")
        checked, refused = await self._check(told, version, room_id)
        if version.strict_invite_state:
            if refused:
                raise InvalidParam(f"An event of invite_room_state is not valid: {refused}")
            if not any(event["type"] == CREATE and event["state_key"] == "" for event in checked):
                raise InvalidParam("The m.room.create event is missing from invite_room_state")
        return self._kept(told, checked, version, user_id)

    async def read_knocked(self, told: Sequence[Any], version: RoomVersion, room_id: RoomId, user_id: UserId) -> bytes:
        """The stripped state of `knock_room_state` as a JSON array: "Entries which are improperly signed or formatted
        SHOULD be removed by the server"."""
        told = told[:EVENTS_MAX]
        checked, _ = await self._check(told, version, room_id)
        return self._kept(told, checked, version, user_id)

    async def _check(
        self, told: Sequence[Any], version: RoomVersion, room_id: RoomId
    ) -> tuple[list[Mapping[str, Any]], str | None]:
        """The stripped forms of whole events that verify, and why one does not."""
        whole = [event for event in told if _is_whole(event)]
        checked = await self.check.check(whole, version, room_id)
        events: list[Mapping[str, Any]] = []
        events += (each for event in checked.events if (each := stripped(event.pdu)) is not None)
        if len(events) == len(whole):
            return events, None
        return events, next(iter(checked.refused.values()), "it is not of the form that the room's version asks for")

    def _kept(
        self, told: Sequence[Any], checked: Sequence[Mapping[str, Any]], version: RoomVersion, user_id: UserId
    ) -> bytes:
        claimed = [each for event in told if not _is_whole(event) and (each := _claim(event, version)) is not None]
        return stripped_json([*checked, *claimed], user_id=user_id, size_bytes_max=STRIPPED_BYTES_MAX)


def _is_whole(event: Any) -> bool:
    """Whether it says to be a PDU."""
    return isinstance(event, dict) and ("signatures" in event or "hashes" in event)


def _claim(event: Any, version: RoomVersion) -> dict[str, Any] | None:
    """A stripped event that nothing vouches for but the word of the other server; since v12 that does not do for what
    gives the room its id."""
    if not isinstance(event, dict) or (version.strict_invite_state and event.get("type") == CREATE):
        return None
    return stripped(event)
