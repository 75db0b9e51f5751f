"""Invites of people who were invited by an address, once an identity server says which user has it.

What the identity server has signed is held against the `m.room.third_party_invite` event of the room by the rules of
event authorisation, so that nobody need be trusted here.

Spec: https://spec.matrix.org/v1.19/server-server-api/#third-party-invites
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.canonical_json import CanonicalJsonError, encode_relaxed
from tim_server.matrix.errors import Forbidden, InvalidParam, NotFound
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.matrix.third_party_invites import key_that_signed
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.identity_servers import IdentityServers
from tim_server.services.rooms.member_content import MEMBER, membership_in
from tim_server.services.rooms.remote.invite import Invites
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.trust.gate import ChokePoint, TrustGate

THIRD_PARTY_INVITE = "m.room.third_party_invite"
SIGNED_BYTES_MAX = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class ThirdPartyInvite:
    """Who had invited into which room, which user that turned out to be, and what the identity server has signed of
    it, unchecked: `mxid`, `token` and `signatures`."""

    room_id: RoomId
    sender: UserId
    invitee: UserId
    signed: Mapping[str, Any]

    @property
    def token(self) -> str:
        """The state key of the event by which the address was invited; raises `InvalidParam` for what has none."""
        token = self.signed.get("token")
        if not isinstance(token, str) or self.signed.get("mxid") != self.invitee:
            raise InvalidParam("What is signed has no token, or is for another user")
        return token

    def check_size(self) -> None:
        """Raise `InvalidParam` for what no identity server signs."""
        try:
            size = len(encode_relaxed(dict(self.signed)))
        except CanonicalJsonError:
            raise InvalidParam("What is signed is no canonical JSON") from None
        if size > SIGNED_BYTES_MAX:
            raise InvalidParam(f"What is signed has more than {SIGNED_BYTES_MAX} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThirdPartyInvites:
    """Turns such invites into those of users, in rooms that this server is in."""

    invites: Invites
    participation: Participation
    gate: TrustGate
    identity: IdentityServers

    async def exchange(self, origin: ServerName, invite: ThirdPartyInvite) -> None:
        """Invite a user of the origin, whose server signs the invite before this is answered.

        Raises `NotFound` unless this server is in the room, `Forbidden` where the rules, the room's access control list
        or the trust gate are against it, `InvalidParam`, and what `Invites.submit` raises.
        """
        if invite.invitee.server_name != origin:
            raise Forbidden("The invited user is not one of your server")
        if invite.sender.server_name != self.invites.server_name:
            raise Forbidden("Who invited is not a user of this server")
        await self.gate.require(ChokePoint.MEMBERSHIP, [origin])
        await self.participation.check_acl(invite.room_id, origin)
        await self.send(invite)

    async def send(self, invite: ThirdPartyInvite) -> EventId:
        """Send the invite; who is in the room or invited already stays so. Where a user of this server had invited, the
        key with which it is proved must still be valid: "No other homeservers may reject the joining of the room on the
        basis of key_validity_url"."""
        invite.check_size()
        original = await self._original(invite)
        key = key_that_signed(dict(invite.signed), original)
        if key is not None and invite.sender.server_name == self.invites.server_name:
            await self.identity.require_valid(key)
        name = original.get("display_name")
        content = {
            "membership": "invite",
            "third_party_invite": {
                "display_name": name if isinstance(name, str) else "",
                "signed": dict(invite.signed),
            },
        }

        def is_in_place(_sender: UserId, present: Mapping[str, Any]) -> bool:
            return membership_in(present) in ("join", "invite")

        draft = Draft(type=MEMBER, state_key=invite.invitee, sender=invite.sender, content=content)
        group = DraftGroup(drafts=(draft,), unless=is_in_place)
        return await self.invites.submit(invite.room_id, group)

    async def _original(self, invite: ThirdPartyInvite) -> Mapping[str, Any]:
        """The content of the event by which the address was invited."""
        head = await self.participation.heads.get(invite.room_id)
        nid = None if head is None else head.state.get((THIRD_PARTY_INVITE, invite.token))
        if head is None or nid is None:
            raise NotFound("The room knows of no such invite")
        return (await self.participation.parsed.load([nid], head.version))[nid].content
