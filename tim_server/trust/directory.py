"""The directory: which organisations belong to a circle of trust, and how the certificates of their servers are known.

    {"version": 7, "issued": "2026-11-25T08:00:00Z", "expires": "2026-12-25T08:00:00Z", "organisations": [
        {"id": "st-mary", "name": "St Mary's Hospital", "kind": "hospital", "server_names": ["st-mary.example"],
         "certificates": [{"sha256": "…"}, {"public_key_sha256": "…"}], "issuers": [{"public_key_sha256": "…"}],
         "contacts": [{"name": "Help desk", "email": "…", "phone": "…", "role": "…"}]}]}

Unknown keys are tolerated; everything else must be exactly so. Described for people in docs/trust.md.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Any

from tim_server.matrix.canonical_json import INTEGER_MAX, CanonicalJsonError, decode, encode
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName

ORGANISATIONS_MAX = 50_000
SERVER_NAMES_MAX = 100
PINS_MAX = 50
CONTACTS_MAX = 20
TEXT_LENGTH_MAX = 500

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class DirectoryRefused(Exception):
    """A directory is not accepted; the one before stays in force. `str()` is a short reason."""


class PinnedPart(Enum):
    """What of a certificate a pin fixes; the value is its key in the directory."""

    CERTIFICATE = "sha256"
    PUBLIC_KEY = "public_key_sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The fingerprint of a certificate, or of a public key: SHA-256, 64 digits of lower-case hexadecimal."""

    part: PinnedPart
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Whom to ask about an organisation's server."""

    name: str | None = None
    role: str | None = None
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """A member. Its servers are known by any of `certificates`, or by being certified by any of `issuers`; at least one
    of both is there."""

    id: str
    name: str
    kind: str
    server_names: tuple[ServerName, ...]
    certificates: tuple[Pin, ...] = ()
    issuers: tuple[Pin, ...] = ()
    contacts: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory as it was issued. Times are in UTC."""

    version: int
    issued: datetime
    expires: datetime
    organisations: tuple[Organisation, ...]
    _by_server_name: Mapping[str, Organisation] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {name.lower(): each for each in self.organisations for name in each.server_names}
        object.__setattr__(self, "_by_server_name", MappingProxyType(by_name))

    def organisation_of(self, server_name: ServerName) -> Organisation | None:
        """Who runs the server; None for a server that is not listed. Upper and lower case are the same, a port is
        part of the name."""
        return self._by_server_name.get(server_name.lower())


def parse_directory(payload: bytes) -> Directory:
    """The directory in the payload of a signed document; raises `DirectoryRefused` for anything that is not right.

    Says nothing about who issued it, or whether it is still valid.
    """
    try:
        value = decode(payload)
    except CanonicalJsonError as error:
        raise DirectoryRefused(f"the directory is not JSON: {error}") from None
    document = _Place(value, "the directory")
    directory = Directory(
        version=document.version(),
        issued=document.time("issued"),
        expires=document.time("expires"),
        organisations=tuple(_organisation(each) for each in document.each("organisations", ORGANISATIONS_MAX)),
    )
    if directory.expires <= directory.issued:
        raise DirectoryRefused("the directory expires before it is issued")
    _check_unique([each.id for each in directory.organisations], "organisations have the id")
    names = [name.lower() for each in directory.organisations for name in each.server_names]
    _check_unique(names, "places list the server name")
    return directory


def encode_directory(directory: Directory) -> bytes:
    """The payload of the document to sign: what `parse_directory` reads."""
    return encode(
        {
            "version": directory.version,
            "issued": format_time(directory.issued),
            "expires": format_time(directory.expires),
            "organisations": [encode_organisation(each) for each in directory.organisations],
        }
    )


def encode_organisation(organisation: Organisation) -> dict[str, Any]:
    """The member as it stands in a directory."""
    return {
        "id": organisation.id,
        "name": organisation.name,
        "kind": organisation.kind,
        "server_names": [str(name) for name in organisation.server_names],
        "certificates": [{pin.part.value: pin.digest} for pin in organisation.certificates],
        "issuers": [{pin.part.value: pin.digest} for pin in organisation.issuers],
        "contacts": [_encode_contact(contact) for contact in organisation.contacts],
    }


def parse_organisation(value: Any) -> Organisation:
    """A member from its JSON; raises `DirectoryRefused`."""
    return _organisation(_Place(value, "the organisation"))


def format_time(time: datetime) -> str:
    """A time in UTC as directories write it, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """A time as `format_time` writes it; raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError("not a time in UTC such as 2026-11-25T08:00:00Z")
    return datetime.fromisoformat(text)


def _encode_contact(contact: Contact) -> dict[str, str]:
    values = {"name": contact.name, "role": contact.role, "email": contact.email, "phone": contact.phone}
    return {key: value for key, value in values.items() if value is not None}


def _organisation(place: "_Place") -> Organisation:
    organisation = Organisation(
        id=place.matching("id", _ID),
        name=place.text("name"),
        kind=place.matching("kind", _KIND),
        server_names=tuple(place.server_names()),
        certificates=tuple(_pin(each) for each in place.each("certificates", PINS_MAX, is_optional=True)),
        issuers=tuple(_pin(each) for each in place.each("issuers", PINS_MAX, is_optional=True)),
        contacts=tuple(_contact(each) for each in place.each("contacts", CONTACTS_MAX, is_optional=True)),
    )
    if not organisation.certificates and not organisation.issuers:
        raise DirectoryRefused(f"{place.name} has neither certificates nor issuers")
    return organisation


def _pin(place: "_Place") -> Pin:
    parts = [part for part in PinnedPart if part.value in place.members]
    if len(parts) != 1:
        raise DirectoryRefused(f"{place.name} must have either sha256 or public_key_sha256")
    return Pin(part=parts[0], digest=place.matching(parts[0].value, _SHA256))


def _contact(place: "_Place") -> Contact:
    return Contact(
        name=place.optional_text("name"),
        role=place.optional_text("role"),
        email=place.optional_text("email"),
        phone=place.optional_text("phone"),
    )


def _check_unique(values: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise DirectoryRefused(f"two {what} {value}")
        seen.add(value)


class _Place:
    """An object in the document, and how to name it in a complaint."""

    __slots__ = ("members", "name")

    def __init__(self, value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise DirectoryRefused(f"{name} is not an object")
        self.members: dict[str, Any] = value
        self.name = name

    def _required(self, key: str) -> Any:
        if key not in self.members:
            raise DirectoryRefused(f"{self.name} has no {key}")
        return self.members[key]

    def version(self) -> int:
        """The directory's version, from 1 on."""
        version = self._required("version")
        if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= INTEGER_MAX:
            raise DirectoryRefused(f"version of {self.name} is not a number from 1 on")
        return version

    def text(self, key: str) -> str:
        """A text that is not empty."""
        value = self._required(key)
        if not isinstance(value, str) or not value.strip() or len(value) > TEXT_LENGTH_MAX:
            raise DirectoryRefused(f"{key} of {self.name} is not a text of 1 to {TEXT_LENGTH_MAX} characters")
        if not value.isprintable():  # it goes into logs and onto terminals
            raise DirectoryRefused(f"{key} of {self.name} has characters that can't be printed")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text, or None where it is missing or null."""
        return None if self.members.get(key) is None else self.text(key)

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        """A text of the form that `pattern` gives."""
        value = self.text(key)
        if not pattern.fullmatch(value):
            raise DirectoryRefused(f"{key} of {self.name} does not have the form {pattern.pattern}")
        return value

    def time(self, key: str) -> datetime:
        """A time in UTC."""
        try:
            return parse_time(self.text(key))
        except ValueError as error:
            raise DirectoryRefused(f"{key} of {self.name} is {error}") from None

    def items(self, key: str, count_max: int, *, is_optional: bool = False) -> list[Any]:
        """A list; an optional one may be missing or null."""
        value = self.members.get(key) if is_optional else self._required(key)
        if value is None and is_optional:
            return []
        if not isinstance(value, list) or len(value) > count_max:
            raise DirectoryRefused(f"{key} of {self.name} is not a list of at most {count_max}")
        return value

    def each(self, key: str, count_max: int, *, is_optional: bool = False) -> list["_Place"]:
        """The objects of a list."""
        items = self.items(key, count_max, is_optional=is_optional)
        return [_Place(item, f"{key}[{index}]") for index, item in enumerate(items)]

    def server_names(self) -> list[ServerName]:
        """The names of the organisation's servers, at least one."""
        names = self.items("server_names", SERVER_NAMES_MAX)
        if not names:
            raise DirectoryRefused(f"{self.name} has no server names")
        try:
            return [ServerName.parse(name) if isinstance(name, str) else ServerName.parse("") for name in names]
        except InvalidIdentifier:
            raise DirectoryRefused(f"server_names of {self.name} has what is not a server name") from None
