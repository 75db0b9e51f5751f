"""Keys of devices: `keys.yaml`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.keys.upload import PublishedKeys
from tim_server.services.sync.tokens import parse_sync_token
from tim_server.web.fields import UserId
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Auth, Route


class UploadKeysRequest(RequestModel):
    """The keys; their form is checked by the rules of `matrix.end_to_end`."""

    device_keys: dict[str, Any] | None = None
    one_time_keys: dict[str, Any] | None = None
    fallback_keys: dict[str, Any] | None = None


class UploadKeysResponse(ResponseModel):
    """How many unclaimed one-time keys the device has, by algorithm."""

    one_time_key_counts: Mapping[str, int]


async def upload_keys(server: Homeserver, requester: Requester, request: UploadKeysRequest) -> UploadKeysResponse:
    """`POST /_matrix/client/v3/keys/upload`: publish keys of the device; all of them, or none where one is wrong.

    Repeating an upload changes nothing, and never brings back a one-time key that was claimed meanwhile.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload
    """
    keys = PublishedKeys(
        device_keys=request.device_keys, one_time_keys=request.one_time_keys, fallback_keys=request.fallback_keys
    )
    return UploadKeysResponse(one_time_key_counts=await server.key_upload.upload(requester, keys))


class QueryKeysRequest(RequestModel):
    """Device ids by user, none for all devices."""

    device_keys: dict[UserId, list[str]]
    timeout: int | None = None


async def query_keys(server: Homeserver, requester: Requester, request: QueryKeysRequest) -> RawJson:
    """`POST /_matrix/client/v3/keys/query`: the keys of users and of their devices, with the signatures that the
    requester may see.

    Users who don't exist are left out; servers that don't answer in time are told of as failures.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery
    """
    wanted, timeout_ms = request.device_keys, request.timeout
    return RawJson(await server.key_query.query(requester.user_id, wanted, timeout_ms=timeout_ms))


class ClaimKeysRequest(RequestModel):
    """Algorithms by user and device."""

    one_time_keys: dict[UserId, dict[str, str]]
    timeout: int | None = None


async def claim_keys(server: Homeserver, requester: Requester, request: ClaimKeysRequest) -> RawJson:
    """`POST /_matrix/client/v3/keys/claim`: a one-time key of each device, or its fallback key.

    Each one-time key is given out once at most, also where the answer is lost. Devices without keys are left out.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim
    """
    return RawJson(await server.key_claim.claim(request.one_time_keys, timeout_ms=request.timeout))


class GetKeysChangesRequest(RequestModel):
    """Sync tokens; the answer is always about all that has changed since the first."""

    start: InQuery[str] = Field(alias="from")
    to: InQuery[str]


class GetKeysChangesResponse(ResponseModel):
    """Users whose keys are to be fetched again, and users who share no room with the requester any more."""

    changed: Sequence[str]
    left: Sequence[str]


async def get_keys_changes(
    server: Homeserver, requester: Requester, request: GetKeysChangesRequest
) -> GetKeysChangesResponse:
    """`GET /_matrix/client/v3/keys/changes`: what `/sync` would tell of device lists since a token.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges
    """
    parse_sync_token(request.to)
    changes = await server.key_changes.since(requester.user_id, parse_sync_token(request.start).position)
    return GetKeysChangesResponse(changed=changes.changed, left=changes.left)


ROUTES = (
    Route("POST", "/_matrix/client/v3/keys/upload", upload_keys, auth=Auth.GUEST_OK),
    Route("POST", "/_matrix/client/v3/keys/query", query_keys, auth=Auth.GUEST_OK),
    Route("POST", "/_matrix/client/v3/keys/claim", claim_keys, auth=Auth.GUEST_OK, rate_limit="claim_keys"),
    Route("GET", "/_matrix/client/v3/keys/changes", get_keys_changes),
)
