"""Mutual TLS: who asks this server for something must present its organisation's certificate, which must prove that it
is the server that has signed the request."""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.certificates import PeerCertificates
from tim_server.services.trust.choke_points import ChokePoint
from tim_server.services.trust.decisions import DecisionLog
from tim_server.trust.certificates import CertificateRefused
from tim_server.trust.organisation_certificate import Direction, Presented


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificateCheck:
    """Holds what a client presented against the origin that its request names."""

    certificates: PeerCertificates
    decisions: DecisionLog

    async def require(self, origin: ServerName, presented: Sequence[bytes]) -> None:
        """Raises `Forbidden` unless the certificates (DER, the client's first) prove that the client is `origin`."""
        if not presented:
            raise self._refused(origin, "it has presented no certificate when it connected")
        leaf, *intermediates = presented
        chain = Presented(certificate=leaf, intermediates=tuple(intermediates), direction=Direction.INCOMING)
        try:
            await self.certificates.prove(origin, chain)
        except CertificateRefused as error:
            raise self._refused(origin, str(error)) from None

    def _refused(self, origin: ServerName, reason: str) -> Forbidden:
        self.decisions.refused(ChokePoint.INCOMING_FEDERATION, origin, reason)
        return Forbidden(f"{origin} is not part of the federation of this server: {reason}")
