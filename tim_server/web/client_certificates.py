"""The certificate that a client has presented: in its TLS connection with this server, or with a reverse proxy that has
verified it and hands it on in a header.

The header is believed from trusted proxies only, and only once in a request: a proxy that adds its header to the
client's, instead of replacing it, would let the client choose.
"""

import base64
import binascii
import re
import ssl
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp.web import BaseRequest

from tim_server.egress.presented_chain import presented_chain
from tim_server.matrix.errors import Forbidden

CERTIFICATES_MAX = 8

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificates:
    """Finds the certificates of clients of one listener; `header` is where its proxies hand them on."""

    header: str | None = None

    def of(self, request: BaseRequest, *, is_proxied: bool) -> tuple[bytes, ...]:
        """The client's certificate (DER), then what came along with it; empty where there is none. Raises `Forbidden`
        for a client that sends the proxies' header itself, and for what can't be read."""
        given = [] if self.header is None else request.headers.getall(self.header, [])
        if given and not is_proxied:
            raise Forbidden(f"{self.header} is for reverse proxies to send")
        if len(given) > 1:
            raise Forbidden(f"{self.header} was sent more than once")
        if self.header is not None and is_proxied:
            return read_forwarded(given[0]) if given and given[0].strip() else ()
        transport = request.transport
        return () if transport is None else presented_chain(transport.get_extra_info("ssl_object"))


def read_forwarded(value: str) -> tuple[bytes, ...]:
    """The certificates (DER) in a proxy's header, as the usual proxies write them; raises `Forbidden`.

    PEM, percent-encoded; or DER in Base64, with or without the colons of RFC 9440, several parted by commas.
    """
    text = unquote(value)
    found = _PEM.findall(text)
    try:
        if found:
            certificates = tuple(ssl.PEM_cert_to_DER_cert(each) for each in found)
        else:
            parts = [each.strip().strip(":") for each in text.split(",")]
            certificates = tuple(base64.b64decode(each, validate=True) for each in parts if each)
    except (ValueError, binascii.Error):
        raise Forbidden("The certificate that the reverse proxy hands on can't be read") from None
    if not 0 < len(certificates) <= CERTIFICATES_MAX:
        raise Forbidden("The certificate that the reverse proxy hands on can't be read")
    return certificates
