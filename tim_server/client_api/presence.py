"""Presence: `presence.yaml`."""

from typing import Literal

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.json_values import encode_json
from tim_server.web.fields import UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse, RawJson
from tim_server.web.route import Route


class GetPresenceRequest(RequestModel):
    """Whose presence."""

    user_id: InPath[UserId]


async def get_presence(server: Homeserver, requester: Requester, request: GetPresenceRequest) -> RawJson:
    """`GET /_matrix/client/v3/presence/{userId}/status`: whether a user is there, for those who share a room with them.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3presenceuseridstatus
    """
    return RawJson(encode_json(await server.presence.get(requester, request.user_id)))


class SetPresenceRequest(GetPresenceRequest):
    """What is to be told of the user."""

    presence_now: Literal["online", "offline", "unavailable"] = Field(alias="presence")
    status_msg: str | None = None


async def set_presence(server: Homeserver, requester: Requester, request: SetPresenceRequest) -> EmptyResponse:
    """`PUT /_matrix/client/v3/presence/{userId}/status`: set one's presence and status message, for all devices.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3presenceuseridstatus
    """
    await server.presence.set(requester, request.user_id, request.presence_now, request.status_msg)
    return EmptyResponse()


ROUTES = (
    Route("GET", "/_matrix/client/v3/presence/{userId}/status", get_presence),
    Route("PUT", "/_matrix/client/v3/presence/{userId}/status", set_presence),
)
