"""Checks signatures, version 4, as Amazon does: in the header or in the URL, with Amazon's own library, which moto
brings along. moto itself takes what anybody signs."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiohttp import web
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.s3 import REGION
from tests.s3_gate import Refusal

SKEW_MAX = timedelta(minutes=15)
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says of its signature. `lifetime`: how long what is signed may be used."""

    auth: type[SigV4Auth]
    credential: str
    signed_headers: frozenset[str]
    signature: str
    time: str
    lifetime: timedelta
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCheck:
    """Refuses what the holder of a key has not signed. `secrets` are those of keys; `ahead` is how much the store's
    clock is ahead."""

    secrets: Mapping[str, str]
    ahead: timedelta = timedelta(0)

    def __call__(self, request: web.Request, body: bytes) -> Refusal | None:
        try:
            claim = _claim_in_url(request) if "X-Amz-Signature" in request.query else _claim_in_header(request)
            key, _, region, service, end = claim.credential.split("/")
        except (KeyError, ValueError):
            return Refusal(403, "AccessDenied", "Access Denied")
        in_url = claim.auth is S3SigV4QueryAuth
        if (region, service, end) != (REGION, "s3", "aws4_request"):
            return Refusal(400, "AuthorizationQueryParametersError" if in_url else "AuthorizationHeaderMalformed")
        if key not in self.secrets:
            return Refusal(403, "InvalidAccessKeyId")
        return self._refusal_of_time(claim, in_url=in_url) or self._refusal_of_signature(request, body, claim, key)

    def _refusal_of_time(self, claim: _Claim, *, in_url: bool) -> Refusal | None:
        age = datetime.now(UTC) + self.ahead - datetime.strptime(claim.time, _TIME).replace(tzinfo=UTC)
        if -SKEW_MAX <= age <= claim.lifetime:
            return None
        if not in_url:
            return Refusal(403, "RequestTimeTooSkewed")
        return Refusal(403, "AccessDenied", "Request is not valid yet" if age < timedelta(0) else "Request has expired")

    def _refusal_of_signature(self, request: web.Request, body: bytes, claim: _Claim, key: str) -> Refusal | None:
        own = {name.lower() for name in request.headers if name.lower().startswith("x-amz-")}
        if not own | {"host"} <= claim.signed_headers:
            return Refusal(403, "AccessDenied", "There were headers present in the request which were not signed")
        told = request.headers.get("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")
        if told not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            return Refusal(400, "XAmzContentSHA256Mismatch")
        if not hmac.compare_digest(_signature(request, claim, Credentials(key, self.secrets[key])), claim.signature):
            return Refusal(403, "SignatureDoesNotMatch")
        return None


def _claim_in_url(request: web.Request) -> _Claim:
    query = request.query
    signature = query["X-Amz-Signature"]
    return _Claim(
        auth=S3SigV4QueryAuth,
        credential=query["X-Amz-Credential"],
        signed_headers=frozenset(query["X-Amz-SignedHeaders"].split(";")),
        signature=signature,
        time=query["X-Amz-Date"],
        lifetime=timedelta(seconds=int(query["X-Amz-Expires"])),
        url=f"http://{request.host}{request.raw_path.replace(f'&X-Amz-Signature={signature}', '')}",
    )


def _claim_in_header(request: web.Request) -> _Claim:
    scheme, _, rest = request.headers["Authorization"].partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        raise ValueError
    told = dict(part.strip().split("=", 1) for part in rest.split(","))
    return _Claim(
        auth=S3SigV4Auth,
        credential=told["Credential"],
        signed_headers=frozenset(told["SignedHeaders"].split(";")),
        signature=told["Signature"],
        time=request.headers["X-Amz-Date"],
        lifetime=SKEW_MAX,
        url=f"http://{request.host}{request.raw_path}",
    )


def _signature(request: web.Request, claim: _Claim, credentials: Credentials) -> str:
    headers = {name: value for name, value in request.headers.items() if name.lower() in claim.signed_headers}
    signed = AWSRequest(method=request.method, url=claim.url, headers=headers)
    signed.context["timestamp"] = claim.time
    auth = claim.auth(credentials, "s3", REGION)
    return str(auth.signature(auth.string_to_sign(signed, auth.canonical_request(signed)), signed))
