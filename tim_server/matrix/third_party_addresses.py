"""Addresses of people outside Matrix, such as of e-mail, as identity servers know them.

Spec: https://spec.matrix.org/v1.19/appendices/#3pid-types
"""

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from tim_server.matrix.identifiers import InvalidIdentifier

ADDRESS_BYTES_MAX = 500
_MEDIUM = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NOT_IN_ADDRESSES = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThirdPartyAddress:
    """An address in its canonical form. It is not shown: whose it is may be a patient."""

    medium: str
    address: str = field(repr=False)

    @classmethod
    def parse(cls, medium: str, address: str) -> Self:
        """The address of this medium; raises `InvalidIdentifier`. Those of e-mail are case-folded:
        "`Strauß@Example.com` must be considered to be `strauss@example.com`"."""
        if not _MEDIUM.fullmatch(medium):
            raise InvalidIdentifier("not a medium of addresses")
        canonical = address.casefold() if medium == "email" else address
        try:
            size = len(canonical.encode())
        except UnicodeEncodeError:
            raise InvalidIdentifier("not an address") from None
        if not 0 < size <= ADDRESS_BYTES_MAX or _NOT_IN_ADDRESSES.search(canonical):
            raise InvalidIdentifier("not an address")
        return cls(medium=medium, address=canonical)

    def hashed(self, pepper: str) -> str:
        """What stands for the address when it is looked up: SHA-256 of "strings separated by spaces in the format
        `<address> <medium> <pepper>`", in Base64 that is safe in URLs, without padding.

        Spec: https://spec.matrix.org/v1.19/identity-service-api/#sha256
        """
        digest = sha256(f"{self.address} {self.medium} {pepper}".encode()).digest()
        return urlsafe_b64encode(digest).decode().rstrip("=")
