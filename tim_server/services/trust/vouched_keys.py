"""The keys of requests that arrive without a certificate: only those that their server has published over a connection
on which it proved to be who it is.

No notary and no earlier memory of the key takes the place of that. The certificate is judged again whenever the
directory or a revocation list changes, or what was known of it has expired; then the server is asked again.

Spec: https://spec.matrix.org/v1.19/server-server-api/#publishing-keys
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tim_server.egress.errors import ContactRefused, OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.fetch_keys import BOUNDS, KEYS_PATH
from tim_server.federation.in_flight import InFlight
from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient
from tim_server.matrix.errors import BadSignature, Forbidden
from tim_server.matrix.events.hashes import decode_base64, unpadded_base64
from tim_server.matrix.federation_errors import Unauthorized
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName
from tim_server.matrix.server_keys import read_key_document
from tim_server.services.trust.certificates import PeerCertificates, presented_before
from tim_server.services.trust.choke_points import ChokePoint
from tim_server.services.trust.decisions import DecisionLog
from tim_server.storage.trust_certificates import PublishedKeys
from tim_server.trust.certificates import CertificateRefused
from tim_server.trust.contacts import is_same_server
from tim_server.trust.organisation_certificate import Presented

ASK_PAUSE_MS = 10_000
"""How long a server is not asked again that did not have the key."""
SERVERS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vouched:
    keys: PublishedKeys
    presented: Presented


@dataclass(slots=True, kw_only=True)
class VouchedKeys:
    """Gives the keys of servers, of each as long as its certificate holds. A server is the same however its name is
    spelled, upper or lower case: else each spelling would have it asked anew."""

    client: FederationClient
    certificates: PeerCertificates
    decisions: DecisionLog
    now_ms: Callable[[], int]
    _known: dict[str, _Vouched] = field(default_factory=dict)
    _asked_ms: dict[str, int] = field(default_factory=dict)
    _asking: InFlight[str, None] = field(default_factory=lambda: InFlight(name="trust-keys"))

    async def key_of(self, origin: ServerName, key_id: str) -> bytes:
        """The server's key of this id, 32 bytes. Raises `Forbidden` where its certificate is not accepted, and
        `Unauthorized` where the key can't be had."""
        if origin.lower() not in self._known:
            await self._remember(origin)
        found = await self._look_up(origin, key_id)
        if not isinstance(found, bytes) and self._may_ask(origin):
            await self._asking.share(origin.lower(), partial(self._ask, origin))
            found = await self._look_up(origin, key_id)
        if isinstance(found, CertificateRefused):
            self.decisions.refused(ChokePoint.INCOMING_FEDERATION, origin, str(found))
            raise _not_accepted(origin, found)
        if found is None:
            raise Unauthorized(f"The key {key_id} of {origin} can't be had from a server that proves to be {origin}")
        return found

    async def _look_up(self, origin: ServerName, key_id: str) -> bytes | CertificateRefused | None:
        """The key, or why the certificate that vouches for it no longer does; None where it is not known."""
        known = self._known.get(origin.lower())
        if known is None or self.now_ms() > known.keys.until_ts or key_id not in known.keys.keys:
            return None
        try:
            await self.certificates.prove(origin, known.presented)
        except CertificateRefused as error:
            return error
        return decode_base64(known.keys.keys[key_id])

    async def _remember(self, origin: ServerName) -> None:
        """Take what another process, or this one before a restart, has written down."""
        for stored in await self.certificates.proved_before(origin):
            if stored.published is not None:
                self._know(origin, stored.published, presented_before(stored))
                return

    def _know(self, origin: ServerName, keys: PublishedKeys, presented: Presented) -> None:
        while len(self._known) >= SERVERS_MAX:
            del self._known[next(iter(self._known))]
        self._known[origin.lower()] = _Vouched(keys=keys, presented=presented)

    def _may_ask(self, origin: ServerName) -> bool:
        if origin.lower() in self._asking:
            return True
        asked_ms = self._asked_ms.get(origin.lower())
        return asked_ms is None or not 0 <= self.now_ms() - asked_ms < ASK_PAUSE_MS

    async def _ask(self, origin: ServerName) -> None:
        while len(self._asked_ms) >= SERVERS_MAX:
            del self._asked_ms[next(iter(self._asked_ms))]
        self._asked_ms[origin.lower()] = self.now_ms()
        try:
            async with self.client.stream("GET", origin, KEYS_PATH, bounds=BOUNDS) as response:
                body = b"".join([chunk async for chunk in response.chunks])
                status, sha256 = response.status, response.finding
        except ContactRefused as error:
            raise _not_accepted(origin, error) from None
        except (OutgoingError, RemoteError):
            return
        published = _read_keys(body, origin, self.now_ms()) if status == 200 and sha256 is not None else None
        if published is None or sha256 is None:
            return
        self.certificates.publish(origin, sha256, published)
        for stored in await self.certificates.proved_before(origin):
            if stored.sha256 == sha256:
                self._know(origin, published, presented_before(stored))


def _not_accepted(origin: ServerName, error: Exception) -> Forbidden:
    return Forbidden(f"{origin} is not part of the federation of this server: {error}")


def _read_keys(body: bytes, origin: ServerName, now_ms: int) -> PublishedKeys | None:
    """The keys with which the server signs now, as its document says; None where it is not such a document."""
    try:
        value = decode_lenient(body)
        stated = ServerName.parse(value["server_name"])
        document = read_key_document(value, stated, fetched_ts=now_ms)
    except (BadSignature, CanonicalJsonError, InvalidIdentifier, KeyError, TypeError):
        return None
    if not is_same_server(stated, origin):
        return None
    in_use = {key_id: unpadded_base64(key.verify_key) for key_id, key in document.keys.items() if not key.is_old}
    return PublishedKeys(keys=in_use, until_ts=document.valid_until_ts)
