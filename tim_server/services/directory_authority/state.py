"""What an authority knows, and its form in `authority.json`: readable, in one file, so that it changes as a whole.

Members stand there as in the directory. What was issued is never forgotten: it must be possible to revoke it.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tim_server.matrix.identifiers import InvalidIdentifier, ServerName
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.trust.certificates import host_of
from tim_server.trust.directory import (
    DirectoryRefused,
    Organisation,
    encode_organisation,
    format_time,
    parse_organisation,
    parse_time,
)

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate that the authority issued: for a server, or (`server_name` None) for its signer of directories.

    `hosts` are all that it names, in lower case.
    """

    serial: int
    server_name: ServerName | None
    organisation_id: str | None
    expires: datetime
    hosts: tuple[str, ...] = ()
    revoked: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether somebody may prove something with it."""
        return self.revoked is None and self.expires > now


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityState:
    """`version` is that of the last directory that was signed, `crl_number` that of the last revocation list; 0 before
    the first. `url` is where members reach what is published."""

    name: str
    url: str
    version: int = 0
    crl_number: int = 0
    organisations: tuple[Organisation, ...] = ()
    issued: tuple[Issued, ...] = ()

    def organisation(self, organisation_id: str) -> Organisation | None:
        """The member with this id."""
        return next((each for each in self.organisations if each.id == organisation_id), None)

    def organisation_of(self, server_name: ServerName) -> Organisation | None:
        """The member that runs the server."""
        wanted = server_name.lower()
        for organisation in self.organisations:
            if any(name.lower() == wanted for name in organisation.server_names):
                return organisation
        return None

    def owner_of(self, host: str) -> Organisation | None:
        """The member that has a server on the host."""
        for organisation in self.organisations:
            if any(host_of(name) == host for name in organisation.server_names):
                return organisation
        return None

    def with_revoked(self, serials: frozenset[int], now: datetime) -> "AuthorityState":
        """The state with these certificates revoked; what was revoked before stays as it was."""
        issued = tuple(
            replace(each, revoked=now) if each.serial in serials and each.revoked is None else each
            for each in self.issued
        )
        return replace(self, issued=issued)


def encode_state(state: AuthorityState) -> bytes:
    """The text of `authority.json`."""
    value = {
        "format": FORMAT,
        "name": state.name,
        "url": state.url,
        "version": state.version,
        "crl_number": state.crl_number,
        "organisations": [encode_organisation(each) for each in state.organisations],
        "issued": [_encode_issued(each) for each in state.issued],
    }
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def decode_state(data: bytes) -> AuthorityState:
    """The state in the text; raises `AuthorityFailed`."""
    try:
        value = json.loads(data)
        if value["format"] != FORMAT:
            raise AuthorityFailed(f"authority.json has the format {value['format']}, which this release does not know")
        return AuthorityState(
            name=str(value["name"]),
            url=str(value["url"]),
            version=int(value["version"]),
            crl_number=int(value["crl_number"]),
            organisations=tuple(parse_organisation(each) for each in value["organisations"]),
            issued=tuple(_decode_issued(each) for each in value["issued"]),
        )
    except (ValueError, KeyError, TypeError, DirectoryRefused) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise AuthorityFailed(f"authority.json can't be used: {reason}; restore it from a backup") from None


def format_serial(serial: int) -> str:
    """A serial number as people compare it: hexadecimal."""
    return f"{serial:x}"


def parse_server_name(text: str) -> ServerName:
    """The server name in `text`; raises `AuthorityFailed`."""
    try:
        return ServerName.parse(text)
    except InvalidIdentifier:
        raise AuthorityFailed(f"{text!r} is not a server name such as hospital.example") from None


def _encode_issued(issued: Issued) -> dict[str, Any]:
    return {
        "serial": format_serial(issued.serial),
        "server_name": issued.server_name,
        "organisation": issued.organisation_id,
        "hosts": list(issued.hosts),
        "expires": format_time(issued.expires),
        "revoked": None if issued.revoked is None else format_time(issued.revoked),
    }


def _decode_issued(value: dict[str, Any]) -> Issued:
    server_name, revoked = value["server_name"], value["revoked"]
    return Issued(
        serial=int(value["serial"], 16),
        server_name=None if server_name is None else ServerName.parse(server_name),
        organisation_id=value["organisation"],
        expires=parse_time(value["expires"]),
        hosts=tuple(map(str, value["hosts"])),
        revoked=None if revoked is None else parse_time(revoked),
    )
