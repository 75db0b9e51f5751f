"""The keys that this server signs with: `keys_server.yaml`."""

from tim_server.matrix.canonical_json import encode
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class GetServerKeyRequest(RequestModel):
    """Nothing."""


async def get_server_key(server: Homeserver, request: GetServerKeyRequest) -> RawJson:
    """`GET /_matrix/key/v2/server`: the keys of this server, signed with them.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server
    """
    return RawJson(encode(server.key_publication.document()))


class GetServerKeyByIdRequest(RequestModel):
    """The key that is wanted, which changes nothing."""

    key_id: InPath[str]


async def get_server_key_by_id(server: Homeserver, request: GetServerKeyByIdRequest) -> RawJson:
    """`GET /_matrix/key/v2/server/{keyId}`: as without the id, which was deprecated in v1.6: "servers should always
    return all keys". Older servers still ask so.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server
    """
    return RawJson(encode(server.key_publication.document()))


ROUTES = (
    Route("GET", "/_matrix/key/v2/server", get_server_key, auth=Auth.NONE),
    Route("GET", "/_matrix/key/v2/server/{keyId}", get_server_key_by_id, auth=Auth.NONE),
)
