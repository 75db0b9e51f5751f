"""A certificate authority of the tests' own, and TLS files for servers on loopback."""

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class TlsFiles:
    """A certificate and its key, PEM."""

    certificate: Path
    private_key: Path


class Circle:
    """An authority whose certificate is in `ca_file`; `tls_files` certifies a server name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of the tests")])
        self.ca_file = folder / "ca.pem"
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.ca_file.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def tls_files(self, server_name: str) -> TlsFiles:
        """Files with a certificate for the host of a server name."""
        server_name = server_name.partition(":")[0]
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, server_name)])
        alternatives = x509.SubjectAlternativeName([x509.DNSName(server_name)])
        certificate = self._builder(name, key).add_extension(alternatives, critical=False)
        files = TlsFiles(self.folder / f"{server_name}.pem", self.folder / f"{server_name}.key.pem")
        files.certificate.write_bytes(
            certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        files.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def server_context(self, server_name: str) -> ssl.SSLContext:
        """A TLS context for a listener of the server."""
        files = self.tls_files(server_name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.private_key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """A TLS context that trusts the authority."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
        )
