"""Send messages and state.

Spec: https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room
"""

from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import BadJson
from tim_server.matrix.identifiers import EventId, InvalidIdentifier, RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.canonical_alias import CANONICAL_ALIAS, CanonicalAliasCheck
from tim_server.services.rooms.content import check_message, check_state, check_tombstone
from tim_server.services.rooms.draft import Draft, DraftGroup, TransactionKey
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.rooms.member_state import MemberState
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.redact import REDACTION, Redaction


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSender:
    """Sends events of clients."""

    queues: RoomQueues
    redaction: Redaction
    member_state: MemberState
    canonical_alias_check: CanonicalAliasCheck

    async def send_message(
        self, requester: Requester, room_id: RoomId, event_type: str, content: dict[str, Any], txn_id: str
    ) -> EventId:
        """Send an event without a state key; a repeated transaction id gives the event that it made before.

        Raises `Forbidden`, `NotFound`, `BadJson`, `TooLarge`, `UserSuspended`.
        """
        transaction = transaction_key(requester, txn_id, "send", room_id, event_type)
        if event_type == REDACTION:
            return await self.redaction.send(requester, room_id, redacted_id(content), content, transaction)
        check_may_act(requester)
        check_message(event_type, content)
        check_tombstone(room_id, event_type, content)
        draft = Draft(type=event_type, sender=requester.user_id, content=content)
        event_ids = await self.queues.submit(room_id, DraftGroup(drafts=(draft,), transaction=transaction))
        return event_ids[-1]

    async def send_state(
        self, requester: Requester, room_id: RoomId, key: tuple[str, str], content: dict[str, Any]
    ) -> EventId:
        """Set the state of a (type, state key). Where the same sender has set the same content, that event stands.

        Raises what `send_message` raises, `BadAlias` or `InvalidParam` for a canonical alias of another room, and for
        member events what the endpoints for memberships raise.
        """
        check_state(*key, content)
        check_tombstone(room_id, key[0], content)
        if key[0] == MEMBER:
            return await self.member_state.set(requester, room_id, UserId(key[1]), content)
        check_may_act(requester)
        if key == (CANONICAL_ALIAS, ""):
            await self.canonical_alias_check.check(room_id, content)

        def is_in_place(sender: UserId, present: dict[str, Any]) -> bool:
            return sender == requester.user_id and present == content

        draft = Draft(type=key[0], state_key=key[1], sender=requester.user_id, content=content)
        event_ids = await self.queues.submit(room_id, DraftGroup(drafts=(draft,), unless=is_in_place))
        return event_ids[-1]


def transaction_key(requester: Requester, txn_id: str, *endpoint: str) -> TransactionKey:
    """The scope of a transaction id: the requester's device, and the endpoint with its path."""
    return TransactionKey(
        user_id=requester.user_id, device_id=requester.device_id or "", txn_id=txn_id, endpoint=endpoint
    )


def redacted_id(content: dict[str, Any]) -> EventId:
    """The event that the content of a redaction names; raises `BadJson`."""
    redacts = content.get("redacts")
    if not isinstance(redacts, str):
        raise BadJson("redacts must be the ID of an event")
    try:
        return EventId.parse(redacts)
    except InvalidIdentifier:
        raise BadJson("redacts must be the ID of an event") from None
