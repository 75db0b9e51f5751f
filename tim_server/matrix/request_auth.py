"""The signature of a request from server to server: what is signed, and the header that carries it. Pure.

Spec: https://spec.matrix.org/v1.19/server-server-api/#request-authentication
"""

import re
from dataclasses import dataclass

import orjson

from tim_server.matrix.federation_errors import Unauthorized
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName

SCHEME = "x-matrix"
HEADER_LENGTH_MAX = 4_096

_PARAMETER = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSignature:
    """What an `Authorization` header says: who asks whom, and the signature (unpadded Base64) with its key's id.

    `destination` None: servers before v1.3 of the specification do not name it.
    """

    origin: ServerName
    destination: ServerName | None
    key_id: str
    signature: str

    def header(self) -> str:
        """The header's value."""
        return (
            f'X-Matrix origin="{self.origin}",destination="{self.destination}",'
            f'key="{self.key_id}",sig="{self.signature}"'
        )


def parse_authorization(header: str) -> RequestSignature:
    """The signature in an `Authorization` header; raises `Unauthorized`."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != SCHEME or len(header) > HEADER_LENGTH_MAX or not header.isascii():
        raise Unauthorized("The Authorization header is not of the scheme X-Matrix")
    values: dict[str, str] = {}
    place = 0
    while place < len(rest):
        found = _PARAMETER.match(rest, place)
        if found is None:
            raise Unauthorized("The Authorization header can't be read")
        name, quoted, plain = found.groups()
        values.setdefault(name.lower(), plain if quoted is None else _ESCAPED.sub(r"\1", quoted))
        place = found.end()
    try:
        destination = values.get("destination")
        return RequestSignature(
            origin=ServerName.parse(values["origin"]),
            destination=None if destination is None else ServerName.parse(destination),
            key_id=values["key"],
            signature=values["sig"],
        )
    except (KeyError, InvalidIdentifier):
        raise Unauthorized("The Authorization header lacks origin, key or sig") from None


def destination_of(header: str) -> str:
    """The server that an `Authorization` header says the request is for; empty where it says nothing of the kind."""
    if header[: len(SCHEME)].lower() != SCHEME:
        return ""
    try:
        return parse_authorization(header).destination or ""
    except Unauthorized:
        return ""


def signed_request(
    *, method: str, uri: str, origin: str, destination: str | None, content: bytes | None = None
) -> bytes:
    """The bytes that are signed: canonical JSON of the request. `uri` is the path with its query as it is sent;
    `content` the canonical bytes of the body, None where there is none. Keys stand in their sorted order."""
    members = [] if content is None else [b'"content":' + content]
    if destination is not None:
        members.append(b'"destination":' + orjson.dumps(str(destination)))
    members.append(b'"method":' + orjson.dumps(method))
    members.append(b'"origin":' + orjson.dumps(str(origin)))
    members.append(b'"uri":' + orjson.dumps(uri))
    return b"{%b}" % b",".join(members)
