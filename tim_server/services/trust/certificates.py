"""Organisation certificates: whether what a server presented proves that it is the one that the directory lists.

What was proved is remembered until it no longer holds: a certificate or a revocation list has expired, or another
directory or list is in force. Certificates are kept in the database too, with the keys that their servers published
over connections with them, so that restarts and other processes need not ask again.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography import x509

from tim_server.matrix.errors import Unavailable
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.trust.knowledge import TrustKnowledge
from tim_server.services.trust.revocation_lists import RevocationLists
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.store import Store
from tim_server.storage.trust_certificates import (
    PublishedKeys,
    StoredCertificate,
    load_certificates,
    reap_certificates,
    save_certificates,
)
from tim_server.trust.certificates import CertificateRefused, to_der
from tim_server.trust.chains import Chain
from tim_server.trust.contacts import judge_contact, listing_of
from tim_server.trust.organisation_certificate import (
    Direction,
    OrganisationCertificate,
    Presented,
    verify_organisation_certificate,
    verify_presented_chain,
)

PROVEN_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What a server has proved, by what it presented, under which directory and lists; `recheck_ms` is when
    revocation must be looked at again."""

    certificate: OrganisationCertificate
    chain: Chain
    generation: int
    recheck_ms: int


_Key = tuple[str, str, str]


@dataclass(slots=True, kw_only=True)
class PeerCertificates:
    """Judges what servers present."""

    knowledge: TrustKnowledge
    lists: RevocationLists
    anchors: tuple[x509.Certificate, ...]
    store: Store
    now_ms: Callable[[], int]
    _proven: dict[_Key, Proven] = field(default_factory=dict)
    _unsaved: dict[tuple[str, str], StoredCertificate] = field(default_factory=dict)

    async def prove(self, server_name: ServerName, presented: Presented) -> OrganisationCertificate:
        """What the certificate proves about the server; raises `CertificateRefused`."""
        sha256 = hashlib.sha256(presented.certificate).hexdigest()
        key = (server_name.lower(), sha256, presented.direction.value)
        known = self._proven.get(key)
        if known is None or not self._holds(known):
            known = await self._verify(server_name, presented, known)
            while len(self._proven) >= PROVEN_MAX:
                del self._proven[next(iter(self._proven))]
            self._proven[key] = known
            self._keep(known)
        verdict = judge_contact(server_name, self.knowledge.view, known.certificate, self._now())
        if not verdict.is_allowed:
            raise CertificateRefused(verdict.reason)
        return known.certificate

    async def proved_before(self, server_name: ServerName) -> Sequence[StoredCertificate]:
        """The certificates with which the server has proved itself, those verified last first."""
        unsaved = [each for (name, _), each in self._unsaved.items() if name == server_name.lower()]
        async with self.store.database.connection() as connection:
            stored = await load_certificates(connection, self.store.codec, [server_name.lower()])
        names = {each.sha256 for each in unsaved}
        return [*unsaved, *(each for each in stored.get(server_name.lower(), ()) if each.sha256 not in names)]

    async def complaint(self, server_name: ServerName, stored: StoredCertificate) -> str | None:
        """Why a certificate that was proved before would prove nothing now; None where it still does."""
        presented = replace(presented_before(stored), direction=Direction.INCOMING)  # which asks for less
        try:
            await self.prove(server_name, presented)
        except CertificateRefused as error:
            return str(error)
        return None

    def publish(self, server_name: ServerName, sha256: str, published: PublishedKeys) -> None:
        """The server has published these keys over a connection with a certificate that was proved."""
        proven = self._proven.get((server_name.lower(), sha256, Direction.OUTGOING.value))
        if proven is not None:
            self._keep(proven, published)

    async def flush(self) -> None:
        """Write down what was proved. Without the database it stays to be written."""
        unsaved, self._unsaved = self._unsaved, {}
        if not unsaved:
            return
        try:
            await self.store.writer.write(_Save(codec=self.store.codec, certificates=tuple(unsaved.values())))
        except Unavailable:
            self._unsaved = unsaved | self._unsaved

    async def reap(self) -> None:
        """Remove certificates that have expired from the database."""
        async with self.store.database.transaction() as tx:
            await reap_certificates(tx, self.now_ms())

    def _holds(self, proven: Proven) -> bool:
        if proven.generation != self.knowledge.generation or self.now_ms() >= proven.recheck_ms:
            return False
        return self._now() <= proven.certificate.holds_until

    async def _verify(self, server_name: ServerName, presented: Presented, known: Proven | None) -> Proven:
        now, generation = self._now(), self.knowledge.generation  # first: what changes meanwhile is looked at again
        if known is not None and now <= known.chain.valid_until:
            chain = known.chain
        else:
            chain = await asyncio.to_thread(verify_presented_chain, presented, anchors=self.anchors, now=now)
        listing = listing_of(server_name, self.knowledge.view.directories)
        if listing is None:
            raise CertificateRefused(f"no directory lists {server_name}")
        data = await self.lists.about(chain)
        certificate = await asyncio.to_thread(
            verify_organisation_certificate,
            chain,
            server_name=server_name,
            organisation=listing[1],
            revocation=(data, self.lists.rules),
            now=now,
        )
        recheck_ms = self.now_ms() + self.lists.refresh_interval_ms
        return Proven(certificate=certificate, chain=chain, generation=generation, recheck_ms=recheck_ms)

    def _keep(self, proven: Proven, published: PublishedKeys | None = None) -> None:
        stored = self._stored(proven)
        key = (stored.server_name, stored.sha256)
        earlier = self._unsaved.get(key)
        if published is None and earlier is not None:
            published = earlier.published
        self._unsaved[key] = replace(stored, published=published)

    def _stored(self, proven: Proven) -> StoredCertificate:
        certificate, leaf = proven.certificate, proven.chain.leaf
        return StoredCertificate(
            server_name=certificate.server_name.lower(),
            sha256=certificate.sha256,
            organisation_id=certificate.organisation_id,
            chain=tuple(to_der(each) for each in proven.chain.certificates[:-1]),
            serial=f"{leaf.serial_number:x}",
            not_after_ts=_ms(leaf.not_valid_after_utc),
            holds_until_ts=_ms(certificate.holds_until),
            verified_ts=self.now_ms(),
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)


def presented_before(stored: StoredCertificate) -> Presented:
    """What a server presented, as it was written down."""
    leaf, *intermediates = stored.chain
    return Presented(certificate=leaf, intermediates=tuple(intermediates))


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Save:
    codec: Codec
    certificates: tuple[StoredCertificate, ...]
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await save_certificates(tx, self.codec, self.certificates)
