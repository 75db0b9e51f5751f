"""The signature of requests: the header's grammar, and what is signed."""

import pytest

from tim_server.matrix.canonical_json import encode
from tim_server.matrix.federation_errors import Unauthorized
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.request_auth import RequestSignature, destination_of, parse_authorization, signed_request

SIGNATURE = RequestSignature(
    origin=ServerName("origin.example"),
    destination=ServerName("destination.example:8448"),
    key_id="ed25519:key1",
    signature="ABCDEF+/",
)


@pytest.mark.parametrize(
    "header",
    [
        SIGNATURE.header(),
        'X-Matrix origin="origin.example",destination="destination.example:8448",key="ed25519:key1",sig="ABCDEF+/"',
        'x-matrix sig=ABCDEF+/,key="ed25519:key1", destination="destination.example:8448" ,origin=origin.example',
        'X-MATRIX Origin = "origin.example" , DESTINATION="destination.example:8448",unknown="x",'
        'key="ed25519:key1",sig="ABCDEF+/"',
        'X-Matrix origin="origin\\.example",destination="destination.example:8448",key="ed25519:key1",sig="ABCDEF+/",',
    ],
)
def test_headers_are_read_as_the_grammar_lets_them_be_written(header: str) -> None:
    assert parse_authorization(header) == SIGNATURE


def test_older_servers_do_not_name_the_destination() -> None:
    parsed = parse_authorization('X-Matrix origin=origin.example,key="ed25519:key1",sig="ABC"')
    assert (parsed.destination, destination_of("X-Matrix origin=a")) == (None, "")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer token",
        "X-Matrix",
        "X-Matrix origin",
        'X-Matrix origin="origin.example",key="ed25519:key1"',
        'X-Matrix origin="origin.example,key="ed25519:key1",sig="x"',
        'X-Matrix origin="not a name",key="ed25519:key1",sig="x"',
        'X-Matrix origin=origin.example,destination="/",key="ed25519:key1",sig="x"',
        'X-Matrix origin="origin.example",key="ed25519:\udcff",sig="x"',  # as a byte arrives that is not UTF-8
        "X-Matrix " + "a" * 5_000,
    ],
)
def test_what_is_no_such_header_is_refused(header: str) -> None:
    with pytest.raises(Unauthorized):
        parse_authorization(header)
    assert destination_of(header) == ""


@pytest.mark.parametrize("destination", [None, "destination.example"])
@pytest.mark.parametrize("content", [None, {"b": [1, "ü"], "a": {}}])
def test_what_is_signed_is_canonical_json_of_the_request(destination: str | None, content: object) -> None:
    wanted = {"method": "PUT", "uri": "/x?y=ü", "origin": "origin.example"}
    wanted |= {} if destination is None else {"destination": destination}
    whole = wanted if content is None else {**wanted, "content": content}
    signed = signed_request(
        method="PUT",
        uri="/x?y=ü",
        origin="origin.example",
        destination=destination,
        content=None if content is None else encode(content),
    )
    assert signed == encode(whole)
