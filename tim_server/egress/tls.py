"""TLS for outgoing connections: version 1.2 at least, names and chains verified."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


def client_tls(
    *,
    ca_files: Sequence[Path] = (),
    use_system_cas: bool = True,
    client_certificate: tuple[Path, Path] | None = None,
) -> ssl.SSLContext:
    """A verifying context: the system's anchors and those in `ca_files` (PEM).

    `client_certificate` is the chain and the key for mutual TLS. Raises OSError or ssl.SSLError for unusable files.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name by default
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    if use_system_cas:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    for file in ca_files:
        context.load_verify_locations(cafile=file)
    if client_certificate is not None:
        certificate, key = client_certificate
        context.load_cert_chain(certificate, key)
    return context


@dataclass(slots=True, kw_only=True)
class PeerTls:
    """A context whose client certificate is read again once its files have changed; connections that exist keep theirs.
    `certificate` are the files of chain and key, or None. Making one raises OSError or ssl.SSLError."""

    context: ssl.SSLContext
    certificate: tuple[Path, Path] | None = None
    _loaded_state: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Load the files for the first time."""
        self.reload_if_changed()

    def reload_if_changed(self) -> bool:
        """Take new files where there are any: whether there were. Raises as the first load does, and keeps the old."""
        if self.certificate is None:
            return False
        state = tuple(file.stat().st_mtime for file in self.certificate)
        if state == self._loaded_state:
            return False
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(*self.certificate)  # a pair that fits
        self.context.load_cert_chain(*self.certificate)
        self._loaded_state = state
        return True
