"""An authority in a folder of its own, and how members look at what it publishes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.certificates import NOW
from tim_server.matrix.identifiers import ServerName
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.found import found_authority
from tim_server.services.directory_authority.issue import Application, issue_certificate
from tim_server.services.directory_authority.members import add_member
from tim_server.services.directory_authority.sign import Signing, sign_directory
from tim_server.trust.certificates import read_certificates, to_der
from tim_server.trust.crls import read_crl
from tim_server.trust.directory import Directory
from tim_server.trust.organisation_certificate import (
    OrganisationCertificate,
    Presented,
    verify_organisation_certificate,
    verify_presented_chain,
)
from tim_server.trust.revocation import RevocationData, RevocationRules
from tim_server.trust.signed_directory import SignedDirectory, SignerRules, verify_directory


def entry_of(id: str = "a", **changes: Any) -> dict[str, Any]:
    """The entry of the hospital `a`, whose server is a.example."""
    return {"id": id, "name": f"Hospital {id}", "kind": "hospital", "server_names": [f"{id}.example"], **changes}


@dataclass(frozen=True)
class Site:
    """The authority, and what a member sees of it."""

    folder: AuthorityFolder

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        return read_certificates(self.folder.anchors_file.read_bytes())

    def add(self, id: str = "a", now: datetime = NOW, **changes: Any) -> None:
        add_member(self.folder, entry_of(id, **changes), now)

    def issue(self, server_name: str = "a.example", now: datetime = NOW, **options: Any) -> x509.Certificate:
        application = Application(server_name=ServerName(server_name), **options)
        files = issue_certificate(self.folder, application, now)
        return x509.load_pem_x509_certificate(files.certificate.read_bytes())

    def sign(self, now: datetime = NOW, **options: Any) -> Directory:
        return sign_directory(self.folder, Signing(**options), now)

    def fetch(self, now: datetime = NOW) -> SignedDirectory:
        """The directory that is published, as a member accepts it; raises DirectoryRefused."""
        token = self.folder.directory_file.read_bytes()
        return verify_directory(token, rules=SignerRules(anchors=self.anchors), now=now)

    def crl(self) -> x509.CertificateRevocationList:
        return read_crl(self.folder.crl_file.read_bytes())

    def judge(
        self, certificate: x509.Certificate, server_name: str = "a.example", now: datetime = NOW
    ) -> OrganisationCertificate:
        """What a member makes of a certificate that a server presents; raises CertificateRefused."""
        name = ServerName(server_name)
        organisation = self.fetch(now).directory.organisation_of(name)
        assert organisation is not None
        chain = verify_presented_chain(Presented(certificate=to_der(certificate)), anchors=self.anchors, now=now)
        revocation = (RevocationData(crls=(self.crl(),)), RevocationRules())
        return verify_organisation_certificate(
            chain, server_name=name, organisation=organisation, revocation=revocation, now=now
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = AuthorityFolder(tmp_path / "authority")
    found_authority(folder, name="Hospitals of the North", url="https://trust.example/", now=NOW)
    yield Site(folder)
