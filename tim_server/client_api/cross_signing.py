"""Cross-signing: `cross_signing.yaml`."""

from typing import Any

from tim_server.matrix.end_to_end.cross_signing import MASTER, SELF_SIGNING, USER_SIGNING
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import UserId
from tim_server.web.request_model import RequestModel, WholeBody
from tim_server.web.response_model import EmptyResponse, ResponseModel
from tim_server.web.route import Route


class UploadCrossSigningKeysRequest(RequestModel):
    """The public keys, and the state of the authentication."""

    master_key: dict[str, Any] | None = None
    self_signing_key: dict[str, Any] | None = None
    user_signing_key: dict[str, Any] | None = None
    auth: dict[str, Any] | None = None


async def upload_cross_signing_keys(
    server: Homeserver, requester: Requester, request: UploadCrossSigningKeysRequest
) -> EmptyResponse:
    """`POST /_matrix/client/v3/keys/device_signing/upload`: publish the user's cross-signing keys.

    The first keys, and keys that are there already, need no interactive authentication. A new master key makes all that
    was signed before worthless, so that it goes.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload
    """
    given = {
        MASTER: request.master_key,
        SELF_SIGNING: request.self_signing_key,
        USER_SIGNING: request.user_signing_key,
    }
    keys = {usage: key for usage, key in given.items() if key is not None}
    await server.cross_signing_upload.upload(requester, keys, request.auth)
    return EmptyResponse()


class UploadCrossSigningSignaturesRequest(RequestModel):
    """Signed objects by user and key."""

    objects: WholeBody[dict[UserId, dict[str, Any]]]


class UploadCrossSigningSignaturesResponse(ResponseModel):
    """Error bodies by user and key, for what was not taken."""

    failures: dict[str, dict[str, Any]]


async def upload_cross_signing_signatures(
    server: Homeserver, requester: Requester, request: UploadCrossSigningSignaturesRequest
) -> UploadCrossSigningSignaturesResponse:
    """`POST /_matrix/client/v3/keys/signatures/upload`: publish signatures of the user's own devices and master key,
    and of the master keys of others, which nobody but the user gets to see.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload
    """
    failures = await server.signature_upload.upload(requester.user_id, request.objects)
    return UploadCrossSigningSignaturesResponse(failures=failures)


ROUTES = (
    Route("POST", "/_matrix/client/v3/keys/device_signing/upload", upload_cross_signing_keys),
    Route("POST", "/_matrix/client/unstable/keys/device_signing/upload", upload_cross_signing_keys),
    Route("POST", "/_matrix/client/v3/keys/signatures/upload", upload_cross_signing_signatures),
    Route("POST", "/_matrix/client/unstable/keys/signatures/upload", upload_cross_signing_signatures),
)
