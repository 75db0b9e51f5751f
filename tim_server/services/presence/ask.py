"""Set one's own presence, and ask for that of others.

Spec: https://spec.matrix.org/v1.19/client-server-api/#presence
"""

from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, TooLarge
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.presence import UserPresence, presence_content
from tim_server.services.accounts.requester import Requester
from tim_server.services.presence.audience import PresenceAudience
from tim_server.services.presence.track import PresenceTracking
from tim_server.services.rooms.permission import check_may_act


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What users say of themselves and ask of others."""

    tracking: PresenceTracking
    audience: PresenceAudience

    async def set(self, requester: Requester, user_id: UserId, presence: str, status_msg: str | None) -> None:
        """Set the requester's presence, and their status message: none where it is None or empty. Where presence is
        switched off nothing comes of it. Raises `Forbidden` for another user's, `UserSuspended`, `TooLarge`."""
        if requester.user_id != user_id:
            raise Forbidden("This is another user's presence")
        check_may_act(requester)
        length_max = self.audience.policy.status_msg_length_max
        if status_msg is not None and len(status_msg) > length_max:
            raise TooLarge(f"status_msg must have at most {length_max} characters")
        if self.audience.policy.enabled:
            await self.tracking.set(user_id, presence, status_msg or None)

    async def get(self, requester: Requester, user_id: UserId) -> dict[str, Any]:
        """The content of the user's presence event; raises `Forbidden` for who shares no room with them, also where
        there is no such user."""
        async with self.tracking.database.connection() as connection:
            if not await self.audience.may_ask(connection, requester.user_id, user_id):
                raise Forbidden("You share no room with this user")
            known = UserPresence(user_id=user_id)
            if self.audience.policy.enabled:
                known = (await self.audience.of_users(connection, [user_id]))[user_id]
        return presence_content(known, self.tracking.now_ms())
