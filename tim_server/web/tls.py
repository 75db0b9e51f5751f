"""TLS for listeners: version 1.2 at least, forward secrecy, certificates that are replaced while running."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

# TLS 1.3 has its own suites; these are for 1.2: forward secrecy and authenticated encryption only.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!MD5:!DSS"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """A certificate chain and its private key, PEM."""

    certificate: Path
    private_key: Path


@dataclass(slots=True)
class ServerTls:
    """A TLS context whose certificate can be replaced; connections that exist keep theirs. With `client_anchors` (PEM)
    clients are asked for a certificate, which one of the anchors must have certified; who has none is let in without.

    Making one raises OSError or ssl.SSLError where the files can't be used.
    """

    files: TlsFiles
    version_min: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    client_anchors: tuple[Path, ...] = ()
    context: ssl.SSLContext = field(init=False)
    _loaded_state: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        """Load the files for the first time."""
        self._loaded_state = self._state()
        self.context = self._load()

    def reload_if_changed(self) -> bool:
        """Take new files where there are any: whether there were. Raises as the first load does, and keeps the old."""
        state = self._state()
        if state == self._loaded_state:
            return False
        self._loaded_state = state
        self._load()  # a pair that does not fit must not reach the context in use
        self.context.load_cert_chain(self.files.certificate, self.files.private_key)
        return True

    def _state(self) -> tuple[float, float]:
        return self.files.certificate.stat().st_mtime, self.files.private_key.stat().st_mtime

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.version_min
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.files.certificate, self.files.private_key)
        if self.client_anchors:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.options |= ssl.OP_NO_TICKET  # a ticket does not bring back what came along with the certificate
            for file in self.client_anchors:
                context.load_verify_locations(cafile=file)
        return context
