"""An identity server tells that one of our users has an address now, and into which rooms that address was invited.

Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from tim_server.egress.errors import OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.inviting import exchange_third_party_invite
from tim_server.matrix.errors import InvalidParam, MatrixError, NotFound
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.rooms.invite_permission import check_take_invites
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.rooms.remote.outside import OutsideMemberships
from tim_server.services.rooms.remote.third_party_invite import ThirdPartyInvite, ThirdPartyInvites
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.users import find_user

INVITES_MAX = 20
"""How many invites one notice may hold: anybody can send one, and each may have us ask another server."""
REDEEMING_S_MAX = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundAddress:
    """Has the invites of an address become invites of the user who has it: by this server where it is in the room, by
    the server of who invited where not. Who sends the notice is not known, and need not be: the room decides."""

    server_name: ServerName
    client: FederationClient
    gate: TrustGate
    outside: OutsideMemberships
    third_party_invites: ThirdPartyInvites

    async def receive(self, user_id: UserId, invites: Sequence[ThirdPartyInvite]) -> None:
        """Work off the invites; one that fails does not stop the others, and nothing is told of it, not even whether
        there is such a user. Raises `InvalidParam` for too many."""
        if len(invites) > INVITES_MAX:
            raise InvalidParam(f"At most {INVITES_MAX} invites can be told of at once")
        try:
            await self._check_user(user_id)
            async with asyncio.timeout(REDEEMING_S_MAX):
                for invite in invites:
                    await self.redeem(user_id, invite)
        except (MatrixError, TimeoutError) as error:
            log.info("invites of an address were not worked off", user_id=user_id, error=type(error).__name__)

    async def redeem(self, user_id: UserId, invite: ThirdPartyInvite) -> None:
        """Have one invite become one of the user; where that fails, nothing happens."""
        try:
            await self._redeem(user_id, invite)
        except (MatrixError, RemoteError, OutgoingError) as error:
            log.info("an invite of an address failed", room_id=invite.room_id, error=type(error).__name__)

    async def _check_user(self, user_id: UserId) -> None:
        store = self.outside.store
        async with store.database.read() as tx:
            user = await find_user(tx, user_id) if user_id.server_name == self.server_name else None
            if user is None or user.deactivated_ts is not None:
                raise NotFound("There is no such user")
            await check_take_invites(tx, store.codec, [user_id])

    async def _redeem(self, user_id: UserId, invite: ThirdPartyInvite) -> None:
        if invite.invitee != user_id:
            raise InvalidParam("The invite is for another user")
        if await self.outside.is_inside(invite.room_id):
            await self.third_party_invites.send(invite)
            return
        inviting = invite.sender.server_name
        if inviting == self.server_name:
            raise NotFound("This server is not in the room")
        invite.check_size()
        await self.gate.require(ChokePoint.MEMBERSHIP, [inviting])
        event = {
            "type": MEMBER,
            "room_id": invite.room_id,
            "sender": invite.sender,
            "state_key": user_id,
            "content": {
                "membership": "invite",
                # The name is the inviting server's to say, which has it in the room.
                "third_party_invite": {"display_name": user_id.localpart, "signed": dict(invite.signed)},
            },
        }
        await exchange_third_party_invite(self.client, inviting, invite.room_id, event)
