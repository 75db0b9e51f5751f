"""Certificates that reverse proxies hand on: in the forms in which they write them, and from nobody else."""

import base64
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from multidict import CIMultiDict

from tests.certificates import make_ca, make_certificate
from tim_server.matrix.errors import Forbidden
from tim_server.web.client_certificates import CERTIFICATES_MAX, ClientCertificates, read_forwarded

LEAF = make_certificate(make_ca("below", issuer=make_ca()), ["a.example"])
DERS = tuple(each.public_bytes(Encoding.DER) for each in LEAF.chain)
PEMS = [each.public_bytes(Encoding.PEM).decode() for each in LEAF.chain]
BASE64 = [base64.b64encode(der).decode() for der in DERS]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (quote(PEMS[0]), DERS[:1]),
        (quote("".join(PEMS)), DERS),
        (BASE64[0], DERS[:1]),
        (f":{BASE64[0]}:", DERS[:1]),
        (", ".join(f":{each}:" for each in BASE64), DERS),
        (",".join(BASE64), DERS),
    ],
    ids=["nginx", "a chain in PEM", "Base64", "RFC 9440", "a chain of RFC 9440", "a chain in Base64"],
)
def test_usual_forms_are_read(value: str, expected: tuple[bytes, ...]) -> None:
    assert read_forwarded(value) == expected


@pytest.mark.parametrize(
    "value", ["nonsense!", "::", ",", "(null)", quote("-----BEGIN CERTIFICATE-----"), ",".join(["AAAA"] * 9)]
)
def test_what_can_not_be_read_is_refused(value: str) -> None:
    assert CERTIFICATES_MAX == 8
    with pytest.raises(Forbidden):
        read_forwarded(value)


class Request:
    """Headers as a client or a proxy sent them, over a connection without TLS."""

    transport = None

    def __init__(self, *values: str) -> None:
        self.headers = CIMultiDict([("Client-Cert", value) for value in values])


def test_a_proxys_header_is_believed_from_a_proxy_only() -> None:
    certificates = ClientCertificates(header="Client-Cert")
    assert certificates.of(Request(BASE64[0]), is_proxied=True) == DERS[:1]  # type: ignore[arg-type]
    assert certificates.of(Request(), is_proxied=True) == ()  # type: ignore[arg-type]
    assert certificates.of(Request(""), is_proxied=True) == ()  # type: ignore[arg-type]
    with pytest.raises(Forbidden, match="reverse proxies"):
        certificates.of(Request(BASE64[0]), is_proxied=False)  # type: ignore[arg-type]
    with pytest.raises(Forbidden, match="more than once"):
        certificates.of(Request(BASE64[1], BASE64[0]), is_proxied=True)  # type: ignore[arg-type]
    assert ClientCertificates().of(Request(BASE64[0]), is_proxied=True) == ()  # type: ignore[arg-type]
