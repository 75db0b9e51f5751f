"""The devices of one of our users, for other servers: `user_devices.yaml`."""

from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class GetUserDevicesRequest(RequestModel):
    """The user."""

    user_id: InPath[UserId]


async def get_user_devices(server: Homeserver, origin: ServerName, request: GetUserDevicesRequest) -> RawJson:
    """`GET /_matrix/federation/v1/user/devices/{userId}`: devices that have keys, and the user's cross-signing keys.

    `stream_id` is when they last changed, as `m.device_list_update` tells it. 404 for users of other servers and those
    who don't exist.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1userdevicesuserid
    """
    return RawJson(await server.user_devices.of(request.user_id))


ROUTES = (Route("GET", "/_matrix/federation/v1/user/devices/{userId}", get_user_devices, auth=Auth.SERVER),)
