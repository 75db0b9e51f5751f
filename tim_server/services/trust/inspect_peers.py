"""Whom an outgoing connection leads to: the certificate that the other side presents must prove it, each time that the
connection is used."""

from dataclasses import dataclass

from tim_server.egress.connector import PeerConnection
from tim_server.egress.errors import ContactRefused
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName
from tim_server.services.trust.certificates import PeerCertificates
from tim_server.services.trust.choke_points import ChokePoint
from tim_server.services.trust.decisions import DecisionLog
from tim_server.trust.certificates import CertificateRefused
from tim_server.trust.organisation_certificate import Presented


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInspection:
    """Looks at connections for `egress`; what it finds is the SHA-256 of the certificate, in hexadecimal."""

    certificates: PeerCertificates
    decisions: DecisionLog

    async def check(self, connection: PeerConnection) -> str:
        """Raises `ContactRefused` unless the peer proves to be the server that the contact is with."""
        server_name = connection.server_name or _server_at(connection)
        if not connection.certificates:
            raise self._refused(server_name, "the connection has no certificate")
        leaf, *intermediates = connection.certificates
        presented = Presented(certificate=leaf, intermediates=tuple(intermediates))
        try:
            return (await self.certificates.prove(server_name, presented)).sha256
        except CertificateRefused as error:
            raise self._refused(server_name, str(error)) from None

    def handshake_failed(self, server_name: ServerName | None, reason: str) -> None:
        """TLS itself did not accept the certificate."""
        if server_name is not None:
            self._refused(server_name, f"TLS does not accept the certificate: {reason}")

    def _refused(self, server_name: ServerName, reason: str) -> ContactRefused:
        self.decisions.refused(ChokePoint.OUTGOING_CONNECTION, server_name, reason)
        return ContactRefused(f"the certificate of {server_name} is not accepted: {reason}")


def _server_at(connection: PeerConnection) -> ServerName:
    """The server that a URL's host names, where the request named none."""
    try:
        return ServerName.parse(f"{connection.host}")
    except InvalidIdentifier:
        raise ContactRefused("it is not known whom the connection leads to") from None
