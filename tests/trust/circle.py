"""A circle of trust for the tests: an authority, its signer of directories, a member with a certificate."""

import base64
import json
from typing import Any

from cryptography import x509

from tests.certificates import DAY, NOW, Certified, make_ca, make_certificate
from tim_server.matrix.identifiers import ServerName
from tim_server.trust.certificates import certificate_sha256
from tim_server.trust.directory import Directory, Organisation, Pin, PinnedPart
from tim_server.trust.jws import sign_jws
from tim_server.trust.signed_directory import DOCUMENT_TYPE, SignerRules
from tim_server.trust.usages import DIRECTORY_SIGNING

SIGNING = x509.ObjectIdentifier(DIRECTORY_SIGNING)

ROOT = make_ca("root of the circle")
SIGNER = make_certificate(ROOT, [], [SIGNING], common_name="signer of directories")
MEMBER = make_certificate(ROOT, ["a.example"])
RULES = SignerRules(anchors=(ROOT.certificate,))


def certificate_pin(certified: Certified) -> Pin:
    return Pin(part=PinnedPart.CERTIFICATE, digest=certificate_sha256(certified.certificate))


def make_organisation(id: str = "a", **changes: Any) -> Organisation:
    values: dict[str, Any] = {
        "id": id,
        "name": f"Hospital {id}",
        "kind": "hospital",
        "server_names": (ServerName(f"{id}.example"),),
        "certificates": (certificate_pin(MEMBER),),
        **changes,
    }
    return Organisation(**values)


def make_directory(*organisations: Organisation, **changes: Any) -> Directory:
    values: dict[str, Any] = {
        "version": 7,
        "issued": NOW,
        "expires": NOW + 30 * DAY,
        "organisations": organisations or (make_organisation(),),
        **changes,
    }
    return Directory(**values)


def organisation_json(**changes: Any) -> dict[str, Any]:
    """A member as it stands in a directory; a change to None takes the key out."""
    value = {
        "id": "a",
        "name": "Hospital a",
        "kind": "hospital",
        "server_names": ["a.example"],
        "certificates": [{"sha256": "0" * 64}],
        **changes,
    }
    return {key: each for key, each in value.items() if each is not None}


def directory_json(*organisations: Any, **changes: Any) -> bytes:
    """A directory's payload; a change to None takes the key out."""
    value = {
        "version": 7,
        "issued": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "expires": (NOW + 30 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "organisations": list(organisations) if organisations else [organisation_json()],
        **changes,
    }
    return json.dumps({key: each for key, each in value.items() if each is not None}).encode()


def sign(payload: bytes, signer: Certified = SIGNER, document_type: str = DOCUMENT_TYPE) -> bytes:
    return sign_jws(payload, document_type=document_type, key=signer.key, certificates=signer.chain)


def with_header(token: bytes, **changes: Any) -> bytes:
    """The same document with another header, and the signature as it was; a change to None takes the key out."""
    header, rest = token.split(b".", 1)
    value = {**json.loads(base64.urlsafe_b64decode(header + b"==")), **changes}
    value = {key: each for key, each in value.items() if each is not None}
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=") + b"." + rest
