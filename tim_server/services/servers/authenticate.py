"""Whether a request is of the server that it says, and whether that server may talk to us.

Spec: https://spec.matrix.org/v1.19/server-server-api/#request-authentication
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tim_server.federation.keys import KeyRing
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.signatures import verify_message
from tim_server.matrix.federation_errors import Unauthorized
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.request_auth import RequestSignature, parse_authorization, signed_request
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.trust.contacts import is_same_server


class RequestKeys(Protocol):
    """Gives the keys that requests must be signed with, where more is asked of them than of keys of events."""

    async def key_of(self, origin: ServerName, key_id: str, /) -> bytes:
        """The server's key of this id, 32 bytes; raises `Unauthorized` or `Forbidden` where none can be relied on."""
        ...


class ClientProof(Protocol):
    """Holds the certificates that a client has presented against the origin that its request names."""

    async def require(self, origin: ServerName, presented: Sequence[bytes], /) -> None:
        """Raises `Forbidden` unless they prove that the client is `origin`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What a request's header says, of an origin that may talk to us, and the key that the signature must be of, 32
    bytes."""

    signature: RequestSignature
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAuthenticator:
    """Authenticates requests of other servers, in two steps: what the header says and the origin's key before the body
    is read, and the signature over it, for which nothing has to be waited for while the body takes memory."""

    server_name: ServerName
    keys: KeyRing
    gate: TrustGate
    request_keys: RequestKeys | None = None
    client_certificates: ClientProof | None = None
    admits_strangers: bool = False
    """Whether any server may be talked to."""
    needs_destination: bool = False
    heard: Callable[[ServerName], None] = lambda server: None
    """Told of each server that has signed a request."""

    async def admit(self, authorization: Sequence[str], certificates: Sequence[bytes] = ()) -> Admitted:
        """What the `Authorization` headers say; raises `Unauthorized` where they can't be right, are for somebody else,
        or name a key that can't be had, and `Forbidden` where the trust gate refuses the origin, or where it must have
        presented a certificate (DER, with what came along) and these do not prove that it is the origin."""
        if not authorization:
            raise Unauthorized("The Authorization header of the scheme X-Matrix is missing")
        signature = parse_authorization(authorization[0])
        if signature.destination is None and self.needs_destination:
            raise Unauthorized("The Authorization header must name the destination")
        if signature.destination not in (None, self.server_name):
            raise Unauthorized("The request is for another server")
        if is_same_server(signature.origin, self.server_name):
            raise Unauthorized("The request says to be of this server")
        await self.gate.require(ChokePoint.INCOMING_FEDERATION, [signature.origin])
        if self.client_certificates is not None:
            await self.client_certificates.require(signature.origin, certificates)
        return Admitted(signature=signature, key=await self._key(signature.origin, signature.key_id))

    def verify(self, admitted: Admitted, *, method: str, uri: str, content: bytes | None) -> ServerName:
        """The origin, once its signature over the request is verified; raises `Unauthorized`. `content` are the
        canonical bytes of the body."""
        signature, origin = admitted.signature, admitted.signature.origin
        message = signed_request(
            method=method, uri=uri, origin=origin, destination=signature.destination, content=content
        )
        try:
            verify_message(message, signature.signature, admitted.key)
        except BadSignature:
            raise Unauthorized("The signature of the request does not verify") from None
        self.heard(origin)
        return origin

    async def _key(self, origin: ServerName, key_id: str) -> bytes:
        if self.request_keys is not None:
            return await self.request_keys.key_of(origin, key_id)
        keys = await self.keys.keys_of_now(origin, [key_id])
        if key_id not in keys:
            raise Unauthorized(f"The key {key_id} of {origin} can't be had")
        return keys[key_id]
