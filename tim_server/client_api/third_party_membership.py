"""Inviting people by their address: `third_party_membership.yaml`, at the path of `inviting.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.identity_servers import InvitedAddress
from tim_server.web.fields import RoomId, ServerName
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import EmptyResponse


class Invite3pid(RequestModel):
    """Whom to invite, and which identity server is to be asked with which token."""

    id_server: ServerName
    id_access_token: str
    medium: str
    address: str

    @property
    def invited(self) -> InvitedAddress:
        """The same, checked; raises `InvalidParam`."""
        return InvitedAddress.of(self.id_server, self.id_access_token, medium=self.medium, address=self.address)


async def invite_by_3pid(
    server: Homeserver, requester: Requester, room_id: RoomId, invite: Invite3pid
) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/invite`: invite whoever has an address. Only identity servers that the
    operator allows are asked.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#thirdparty_post_matrixclientv3roomsroomidinvite
    """
    await server.address_invites.invite(requester, room_id, invite.invited)
    return EmptyResponse()
