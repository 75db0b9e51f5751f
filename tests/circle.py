"""A certificate authority of the tests' own, and TLS files for servers on loopback."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.certificates import Certified, TlsFiles, make_ca, make_certificate


class Circle:
    """An authority whose certificate is in `ca_file`; `tls_files` certifies a server name. `certified` has the
    certificates of each, the newest last; they say that revocation lists are at `crl_urls`."""

    def __init__(self, folder: Path, *, crl_urls: Sequence[str] = ()) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = make_ca()
        self.crl_urls = crl_urls
        self.certified: dict[str, list[Certified]] = {}
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self.authority.pem)

    def certify(self, host: str, **options: Any) -> Certified:
        """A certificate of the authority."""
        return make_certificate(self.authority, [host], **{"crl_urls": self.crl_urls, **options})

    def tls_files(self, server_name: str, certified: Certified | None = None) -> TlsFiles:
        """Files with `certified`, or with a new certificate for the host of a server name."""
        host = server_name.partition(":")[0]
        certified = certified or self.certify(host)
        self.certified.setdefault(server_name, []).append(certified)
        return certified.write(self.folder, host)

    def server_context(self, server_name: str, certified: Certified | None = None) -> ssl.SSLContext:
        """A TLS context for a listener of the server."""
        files = self.tls_files(server_name, certified)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.private_key)
        return context

    def client_context(self, certified: Certified | None = None) -> ssl.SSLContext:
        """A TLS context that trusts the authority, and presents `certified`."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if certified is not None:
            files = certified.write(self.folder, "client")
            context.load_cert_chain(files.certificate, files.private_key)
        return context
