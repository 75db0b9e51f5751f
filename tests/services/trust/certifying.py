"""A circle whose authority publishes revocation lists and answers OCSP requests, as one process of a member sees it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.certificates import NOW, Certified, make_ca, make_certificate, make_crl, make_ocsp_response
from tests.services.trust.site import Clock
from tests.trust.circle import make_organisation
from tim_server.egress.errors import RemoteUnreachable
from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.certificates import PeerCertificates
from tim_server.services.trust.knowledge import DirectoryCopy, TrustKnowledge
from tim_server.services.trust.revocation_lists import RevocationLists
from tim_server.storage.store import Store
from tim_server.trust.certificates import public_key_sha256
from tim_server.trust.chains import Chain
from tim_server.trust.directory import Directory, Organisation, Pin, PinnedPart
from tim_server.trust.organisation_certificate import Direction, OrganisationCertificate, Presented
from tim_server.trust.profiles import DIRECTORY
from tim_server.trust.revocation import RevocationMode, RevocationRules
from tim_server.trust.signed_directory import SignedDirectory

CRL = "http://crl.example/revoked.crl"
OCSP = "http://ocsp.example/"


@dataclass
class Hosts:
    """The configured hosts: documents by URL; what is missing is unreachable. `asked` are the URLs in order."""

    documents: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    names: tuple[str, ...] = ("crl.example", "ocsp.example")

    def may_ask(self, url: str) -> bool:
        return any(f"//{name}/" in url for name in self.names)

    async def get(self, url: str, *, size_bytes_max: int) -> bytes:
        self.asked.append(url)
        assert self.may_ask(url)
        if url not in self.documents:
            raise RemoteUnreachable(f"{url} can't be reached")
        return self.documents[url]

    async def post(self, url: str, body: bytes, *, headers: Any, size_bytes_max: int) -> bytes:
        return await self.get(url, size_bytes_max=size_bytes_max)

    async def close(self) -> None: ...


@dataclass
class Member:
    """One process of a member of the circle."""

    store: Store
    root: Certified = field(default_factory=make_ca)
    hosts: Hosts = field(default_factory=Hosts)
    clock: Clock = field(default_factory=Clock)
    url: str = CRL
    rules: RevocationRules = field(default_factory=RevocationRules)
    knowledge: TrustKnowledge = field(init=False)
    lists: RevocationLists = field(init=False)
    certificates: PeerCertificates = field(init=False)

    def __post_init__(self) -> None:
        self.knowledge = TrustKnowledge(own_name=ServerName("own.example"), rules=DIRECTORY)
        self.lists = RevocationLists(
            fetcher=self.hosts,  # type: ignore[arg-type]
            rules=self.rules,
            store=self.store,
            knowledge=self.knowledge,
            refresh_interval_ms=300_000,
            now_ms=self.clock,
        )
        self.certificates = PeerCertificates(
            knowledge=self.knowledge,
            lists=self.lists,
            anchors=(self.root.certificate,),
            store=self.store,
            now_ms=self.clock,
        )

    async def list(self, *organisations: Organisation) -> None:
        """Put a directory of these organisations in force."""
        directory = Directory(version=1, issued=NOW, expires=NOW + timedelta(days=30), organisations=organisations)
        chain = Chain(certificates=(self.root.certificate, self.root.certificate))
        signed = SignedDirectory(directory=directory, payload_sha256="", signer=chain)
        await self.knowledge.adopt(DirectoryCopy(signed=signed, generation=1, fetched_ts=0))

    def organisation(self, id: str = "a", **changes: Any) -> Organisation:
        """The entry of a hospital that is known by the circle's authority."""
        issuer = Pin(part=PinnedPart.PUBLIC_KEY, digest=public_key_sha256(self.root.certificate))
        return make_organisation(id, **{"certificates": (), "issuers": (issuer,), **changes})

    def certify(self, names: Sequence[str] = ("a.example",), **options: Any) -> Certified:
        """A certificate that says where this circle's list is."""
        return make_certificate(self.root, names, **{"crl_urls": [self.url], **options})

    def publish(self, *revoked: Certified, **options: Any) -> None:
        """Have a list of these certificates published."""
        self.hosts.documents[self.url] = make_crl(self.root, revoked, **options)

    def answer_ocsp(self, certified: Certified, **options: Any) -> None:
        """Have the responder answer about a certificate."""
        self.hosts.documents[OCSP] = make_ocsp_response(self.root, certified, **options)

    async def prove(
        self, certified: Certified, name: str = "a.example", direction: Direction = Direction.OUTGOING
    ) -> OrganisationCertificate:
        """What a server that presents this proves."""
        intermediates = tuple(Certified(each, certified.key).der for each in certified.intermediates)
        presented = Presented(certificate=certified.der, intermediates=intermediates, direction=direction)
        return await self.certificates.prove(ServerName(name), presented)

    def restarted(self, **changes: Any) -> "Member":
        """The same after a restart, or another process: it remembers nothing."""
        values = {"root": self.root, "hosts": self.hosts, "clock": self.clock, "url": self.url, "rules": self.rules}
        return Member(self.store, **{**values, **changes})

    @property
    def now(self) -> datetime:
        return NOW + timedelta(milliseconds=self.clock() - int(NOW.timestamp() * 1000))


IF_KNOWN = RevocationRules(mode=RevocationMode.IF_KNOWN)
WITH_OCSP = RevocationRules(uses_ocsp=True)
