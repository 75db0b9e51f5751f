"""Invite, kick, ban and unban: membership that one user sets for another.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-membership
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import BadState, Forbidden
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.invite_permission import check_take_invites
from tim_server.services.rooms.member_content import MEMBER, load_names, member_content, membership_in
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.remote.invite import Invites
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Moderation:
    """Changes the membership of others. All raise `Forbidden` without the power, `NotFound` for an unknown room."""

    database: Database
    codec: Codec
    queues: RoomQueues
    invites: Invites

    async def invite(self, requester: Requester, room_id: RoomId, target: UserId, reason: str | None) -> None:
        """Invite a user; whoever is invited already stays so. Raises `Forbidden` for who is joined or banned,
        `InviteBlocked` for who takes no invites; of a user of another server also what `Invites.submit` raises."""
        check_may_act(requester)
        await self.invites.check_servers([target])
        async with self.database.connection() as connection:
            await check_take_invites(connection, self.codec, [target])
            names = await load_names(connection, self.codec, [target])
        content = member_content("invite", names=names.get(target, {}), reason=reason)
        group = _group(requester, target, content, require_invitable)
        await self.invites.submit(room_id, group)

    async def kick(self, requester: Requester, room_id: RoomId, target: UserId, reason: str | None) -> None:
        """Make a user leave, or take an invite or knock back. Raises `Forbidden` for who is not in the room."""
        content = member_content("leave", names={}, reason=reason)
        await self._change(requester, room_id, target, content, _require_present)

    async def ban(self, requester: Requester, room_id: RoomId, target: UserId, reason: str | None) -> None:
        """Ban a user, in the room or not."""
        content = member_content("ban", names={}, reason=reason)
        await self._change(requester, room_id, target, content, _require_nothing)

    async def unban(self, requester: Requester, room_id: RoomId, target: UserId, reason: str | None) -> None:
        """Lift a ban; raises `BadState` for who is not banned."""
        content = member_content("leave", names={}, reason=reason)
        await self._change(requester, room_id, target, content, _require_banned)

    async def _change(
        self,
        requester: Requester,
        room_id: RoomId,
        target: UserId,
        content: dict[str, Any],
        require: Callable[[Mapping[str, Any] | None], None],
    ) -> None:
        check_may_act(requester)
        await self.queues.submit(room_id, _group(requester, target, content, require))


def _group(
    requester: Requester,
    target: UserId,
    content: dict[str, Any],
    require: Callable[[Mapping[str, Any] | None], None],
) -> DraftGroup:
    """The member event with this content, unless the membership is in place."""

    def is_in_place(_sender: UserId, present: dict[str, Any]) -> bool:
        same_reason = present.get("reason") == content.get("reason")
        same_membership = membership_in(present) == content["membership"]
        return same_membership and (same_reason or content["membership"] == "invite")

    draft = Draft(type=MEMBER, state_key=target, sender=requester.user_id, content=content)
    return DraftGroup(drafts=(draft,), unless=is_in_place, require=require)


def require_invitable(present: Mapping[str, Any] | None) -> None:
    """Raise `Forbidden` for who is joined or banned."""
    membership = membership_in(present)
    if membership == "join":
        raise Forbidden("The user is already in the room")
    if membership == "ban":
        raise Forbidden("The user is banned from the room")


def _require_present(present: Mapping[str, Any] | None) -> None:
    if membership_in(present) not in ("join", "invite", "knock"):
        raise Forbidden("The user is not in the room")


def require_removable(present: Mapping[str, Any] | None) -> None:
    """Raise `Forbidden` unless there is a membership, or a ban, that can be ended."""
    if membership_in(present) not in ("join", "invite", "knock", "ban"):
        raise Forbidden("The user is not in the room")


def _require_nothing(_present: Mapping[str, Any] | None) -> None:
    """Anybody can be banned."""


def _require_banned(present: Mapping[str, Any] | None) -> None:
    if membership_in(present) != "ban":
        raise BadState("The user is not banned from the room")
