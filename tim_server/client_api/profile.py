"""Profiles: `profile.yaml`."""

from typing import Any

import msgspec

from tim_server.matrix.errors import MissingParam
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.profile.fields import check_name
from tim_server.web.fields import UserId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import EmptyResponse, RawJson
from tim_server.web.route import Auth, Route


class GetUserProfileRequest(RequestModel):
    """Whose profile."""

    user_id: InPath[UserId]


async def get_user_profile(server: Homeserver, requester: Requester | None, request: GetUserProfileRequest) -> RawJson:
    """`GET /_matrix/client/v3/profile/{userId}`: all fields of a profile.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuserid
    """
    fields = await server.profile_reader.profile(request.user_id, requester)
    return _spliced(fields)


class ProfileFieldRequest(RequestModel):
    """Whose profile, and which field."""

    user_id: InPath[UserId]
    key_name: InPath[str]


async def get_profile_field(server: Homeserver, requester: Requester | None, request: ProfileFieldRequest) -> RawJson:
    """`GET /_matrix/client/v3/profile/{userId}/{keyName}`: one field of a profile, as an object with that key.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuseridkeyname
    """
    check_name(request.key_name)
    value = await server.profile_reader.field(request.user_id, request.key_name, requester)
    return _spliced({request.key_name: value})


class SetProfileFieldRequest(ProfileFieldRequest):
    """The field and its new value, under its own name in the body."""

    body: WholeBody[dict[str, Any]]


async def set_profile_field(server: Homeserver, requester: Requester, request: SetProfileFieldRequest) -> EmptyResponse:
    """`PUT /_matrix/client/v3/profile/{userId}/{keyName}`: set a field of one's own profile.

    Display name and avatar reach the member events of the user's rooms.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname
    """
    check_name(request.key_name)
    if request.key_name not in request.body:
        raise MissingParam(f"{request.key_name} is missing")
    await server.profile_change.set_field(requester, request.user_id, request.key_name, request.body[request.key_name])
    return EmptyResponse()


async def delete_profile_field(server: Homeserver, requester: Requester, request: ProfileFieldRequest) -> EmptyResponse:
    """`DELETE /_matrix/client/v3/profile/{userId}/{keyName}`: remove a field of one's own profile, if it is there.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3profileuseridkeyname
    """
    await server.profile_change.delete_field(requester, request.user_id, request.key_name)
    return EmptyResponse()


def _spliced(fields: Any) -> RawJson:
    """An object of fields whose values are JSON already."""
    return RawJson(msgspec.json.encode({field: RawJson(value) for field, value in fields.items()}))


ROUTES = (
    Route("GET", "/_matrix/client/v3/profile/{userId}", get_user_profile, auth=Auth.OPTIONAL),
    Route("GET", "/_matrix/client/v3/profile/{userId}/{keyName}", get_profile_field, auth=Auth.OPTIONAL),
    Route("PUT", "/_matrix/client/v3/profile/{userId}/{keyName}", set_profile_field, auth=Auth.GUEST_OK),
    Route("DELETE", "/_matrix/client/v3/profile/{userId}/{keyName}", delete_profile_field, auth=Auth.GUEST_OK),
)
