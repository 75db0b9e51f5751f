"""Invites of people by their address, once it is known which user has it: `third_party_invite.yaml`."""

from typing import Any, Literal

from pydantic import Field

from tim_server.matrix.errors import InvalidParam
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.remote.third_party_invite import ThirdPartyInvite
from tim_server.web.fields import RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Auth, Route


class SignedInvite(RequestModel):
    """`third_party_invite` of a member event, of which only what the identity server has signed counts."""

    signed: dict[str, Any]


class MemberContent(RequestModel):
    """The content of the member event."""

    membership: Literal["invite"]
    third_party_invite: SignedInvite


class ExchangeThirdPartyInviteRequest(RequestModel):
    """A member event in part, of the room of the path."""

    room_id: InPath[RoomId]
    stated_room_id: RoomId = Field(alias="room_id")
    type: Literal["m.room.member"]
    sender: UserId
    state_key: UserId
    content: MemberContent


async def exchange_third_party_invite(
    server: Homeserver, origin: ServerName, request: ExchangeThirdPartyInviteRequest
) -> EmptyResponse:
    """`PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}`: invite a user of the other server, whose
    address a user of this one has invited.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid
    """
    if request.stated_room_id != request.room_id:
        raise InvalidParam("The event is of another room than the path")
    invite = ThirdPartyInvite(
        room_id=request.room_id,
        sender=request.sender,
        invitee=request.state_key,
        signed=request.content.third_party_invite.signed,
    )
    await server.third_party_invites.exchange(origin, invite)
    return EmptyResponse()


class PendingInvite(RequestModel):
    """An invite of the address."""

    mxid: UserId
    room_id: RoomId
    sender: UserId
    signed: dict[str, Any]


class OnBindThirdPartyIdentifierRequest(RequestModel):
    """Which user has the address now, and its invites."""

    mxid: UserId
    invites: tuple[PendingInvite, ...]


async def on_bind_third_party_identifier(
    server: Homeserver, request: OnBindThirdPartyIdentifierRequest
) -> EmptyResponse:
    """`PUT /_matrix/federation/v1/3pid/onbind`: an identity server tells that a user of this server has an address that
    was invited into rooms. It does not authenticate; what it has signed is judged by the rooms, and what comes of it is
    not told.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind
    """
    invites = [
        ThirdPartyInvite(room_id=each.room_id, sender=each.sender, invitee=each.mxid, signed=each.signed)
        for each in request.invites
    ]
    await server.bound_address.receive(request.mxid, invites)
    return EmptyResponse()


ROUTES = (
    Route(
        "PUT",
        "/_matrix/federation/v1/exchange_third_party_invite/{roomId}",
        exchange_third_party_invite,
        auth=Auth.SERVER,
    ),
    Route(
        "PUT",
        "/_matrix/federation/v1/3pid/onbind",
        on_bind_third_party_identifier,
        auth=Auth.NONE,
        rate_limit="invite",
    ),
)
