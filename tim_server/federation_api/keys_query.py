"""The keys of other servers, through this one as a notary: `keys_query.yaml`."""

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import ServerName
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class PerspectivesKeyQueryRequest(RequestModel):
    """Whose keys, and until when they are to be valid."""

    server_name: InPath[ServerName]
    minimum_valid_until_ts: InQuery[int | None] = None


async def perspectives_key_query(server: Homeserver, request: PerspectivesKeyQueryRequest) -> RawJson:
    """`GET /_matrix/key/v2/query/{serverName}`: what a server has signed of its keys, and this one beside it.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2queryservername
    """
    documents = await server.notary.documents({request.server_name: request.minimum_valid_until_ts})
    return RawJson(encode_relaxed({"server_keys": documents}))


class PerspectivesKeyQueryByIdRequest(PerspectivesKeyQueryRequest):
    """Also which key."""

    key_id: InPath[str]


async def perspectives_key_query_by_id(server: Homeserver, request: PerspectivesKeyQueryByIdRequest) -> RawJson:
    """`GET /_matrix/key/v2/query/{serverName}/{keyId}`: what `perspectives_key_query` answers, whatever key is named.

    Older servers ask so.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2queryservername
    """
    return await perspectives_key_query(server, request)


class KeyCriteria(RequestModel):
    """Until when a key is to be valid."""

    minimum_valid_until_ts: int | None = None


class BulkPerspectivesKeyQueryRequest(RequestModel):
    """Criteria by server and key id."""

    server_keys: dict[ServerName, dict[str, KeyCriteria]]


async def bulk_perspectives_key_query(server: Homeserver, request: BulkPerspectivesKeyQueryRequest) -> RawJson:
    """`POST /_matrix/key/v2/query`: what servers have signed of their keys, and this one beside them; of 100 at most.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#post_matrixkeyv2query
    """
    wanted: dict[ServerName, int | None] = {
        name: max((c.minimum_valid_until_ts for c in criteria.values() if c.minimum_valid_until_ts), default=None)
        for name, criteria in request.server_keys.items()
    }
    return RawJson(encode_relaxed({"server_keys": await server.notary.documents(wanted)}))


ROUTES = (
    Route(
        "GET",
        "/_matrix/key/v2/query/{serverName}",
        perspectives_key_query,
        auth=Auth.NONE,
        rate_limit="federation",
    ),
    Route(
        "GET",
        "/_matrix/key/v2/query/{serverName}/{keyId}",
        perspectives_key_query_by_id,
        auth=Auth.NONE,
        rate_limit="federation",
    ),
    Route("POST", "/_matrix/key/v2/query", bulk_perspectives_key_query, auth=Auth.NONE, rate_limit="federation"),
)
