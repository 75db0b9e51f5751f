"""Keys of our users, for other servers: `user_keys.yaml`."""

from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import UserId
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class QueryUserEncryptionKeysRequest(RequestModel):
    """Device ids by user, none for all devices."""

    device_keys: dict[UserId, list[str]]


async def query_user_encryption_keys(
    server: Homeserver, origin: ServerName, request: QueryUserEncryptionKeysRequest
) -> RawJson:
    """`POST /_matrix/federation/v1/user/keys/query`: the keys of users of this server and of their devices.

    Users of other servers, and those who don't exist, are left out. Names of devices are not told.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysquery
    """
    return RawJson(await server.key_query.query_for_server(request.device_keys))


class ClaimUserEncryptionKeysRequest(RequestModel):
    """Algorithms by user and device."""

    one_time_keys: dict[UserId, dict[str, str]]


async def claim_user_encryption_keys(
    server: Homeserver, origin: ServerName, request: ClaimUserEncryptionKeysRequest
) -> RawJson:
    """`POST /_matrix/federation/v1/user/keys/claim`: a one-time key of each device, or its fallback key.

    Each one-time key is given out once at most, whoever asks.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysclaim
    """
    return RawJson(await server.key_claim.claim_for_server(request.one_time_keys))


ROUTES = (
    Route("POST", "/_matrix/federation/v1/user/keys/query", query_user_encryption_keys, auth=Auth.SERVER),
    Route("POST", "/_matrix/federation/v1/user/keys/claim", claim_user_encryption_keys, auth=Auth.SERVER),
)
