"""Identifiers: `str` subclasses made by `parse`, so that a plain string never reaches a service.

Spec: https://spec.matrix.org/v1.19/appendices/#common-identifier-format
"""

import ipaddress
import re
from typing import Self

ID_BYTES_MAX = 255

_IPV4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_IPV6 = r"\[[0-9A-Fa-f:.]{2,45}\]"
_DNS_NAME = r"[0-9A-Za-z.-]{1,255}"
_SERVER_NAME = re.compile(rf"(?:{_IPV4}|{_IPV6}|{_DNS_NAME})(?::[0-9]{{1,5}})?")
# Historical user ids may hold any printable ASCII but the colon; since v1.8 also other characters are tolerated on
# input from other servers, so the localpart is only bounded here. New accounts pass `is_valid_new_localpart`.
_NEW_LOCALPART = re.compile(r"[a-z0-9._=/+-]+")
_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_V12_ROOM_ID = re.compile(r"![A-Za-z0-9_-]{43}")


class InvalidIdentifier(ValueError):
    """A string does not have the form of the identifier that it should be."""


class ServerName(str):
    """`hostname[:port]`, as the grammar of server names allows.

    Spec: https://spec.matrix.org/v1.19/appendices/#server-name
    """

    __slots__ = ()

    @classmethod
    def parse(cls, value: str) -> Self:
        """The server name in `value`; raises `InvalidIdentifier`."""
        if len(value) > 255 or not _SERVER_NAME.fullmatch(value):
            raise InvalidIdentifier("not a server name")
        return cls(value)

    @property
    def host(self) -> str:
        """The name without its port; an IPv6 address in brackets."""
        if self.startswith("["):
            return self.partition("]")[0] + "]"
        return self.partition(":")[0]

    @property
    def has_port(self) -> bool:
        """Whether a port follows the host."""
        return self.host != self

    @property
    def is_ip_literal(self) -> bool:
        """Whether the host is an address."""
        try:
            ipaddress.ip_address(self.host.strip("[]"))
        except ValueError:
            return False
        return True


class _Identifier(str):
    """One sigil, then an opaque part, then in most forms a colon and a server name."""

    __slots__ = ()
    sigil = ""

    @classmethod
    def parse(cls, value: str) -> Self:
        """The identifier in `value`; raises `InvalidIdentifier`."""
        if not value.startswith(cls.sigil) or not _is_storable(value):
            raise InvalidIdentifier(f"not a {cls.__name__}")
        localpart, colon, server_name = value[1:].partition(":")
        if not cls._is_valid(localpart, server_name if colon else None):
            raise InvalidIdentifier(f"not a {cls.__name__}")
        return cls(value)

    @classmethod
    def _is_valid(cls, localpart: str, server_name: str | None) -> bool:
        return server_name is not None and _SERVER_NAME.fullmatch(server_name) is not None

    @property
    def localpart(self) -> str:
        """What stands between the sigil and the first colon."""
        return self[1:].partition(":")[0]

    @property
    def server_name(self) -> ServerName:
        """What stands after the first colon; empty where the form has no server name."""
        return ServerName(self.partition(":")[2])


def _is_storable(value: str) -> bool:
    """At most 255 bytes of UTF-8, without NUL (which PostgreSQL cannot hold) or lone surrogates."""
    try:
        return len(value.encode()) <= ID_BYTES_MAX and "\0" not in value
    except UnicodeEncodeError:
        return False


class UserId(_Identifier):
    """`@localpart:server_name`. Spec: https://spec.matrix.org/v1.19/appendices/#user-identifiers"""

    __slots__ = ()
    sigil = "@"


class RoomId(_Identifier):
    """`!opaque:server_name`, or since room version 12 `!` and the reference hash of the create event.

    Spec: https://spec.matrix.org/v1.19/appendices/#room-ids
    """

    __slots__ = ()
    sigil = "!"

    @classmethod
    def _is_valid(cls, localpart: str, server_name: str | None) -> bool:
        if server_name is None:
            return _V12_ROOM_ID.fullmatch("!" + localpart) is not None
        return bool(localpart) and _SERVER_NAME.fullmatch(server_name) is not None


class EventId(_Identifier):
    """`$opaque:server_name` in room versions 1 and 2, `$` and a reference hash since version 3.

    Spec: https://spec.matrix.org/v1.19/appendices/#event-ids
    """

    __slots__ = ()
    sigil = "$"

    @classmethod
    def _is_valid(cls, localpart: str, server_name: str | None) -> bool:
        return bool(localpart) and (server_name is None or _SERVER_NAME.fullmatch(server_name) is not None)


class RoomAlias(_Identifier):
    """`#localpart:server_name`. Spec: https://spec.matrix.org/v1.19/appendices/#room-aliases"""

    __slots__ = ()
    sigil = "#"


class MediaId(str):
    """The second part of `mxc://server_name/media_id`: letters, digits, `_` and `-` only.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#matrix-content-mxc-uris
    """

    __slots__ = ()

    @classmethod
    def parse(cls, value: str) -> Self:
        """The id in `value`; raises `InvalidIdentifier`."""
        if not _MEDIA_ID.fullmatch(value):
            raise InvalidIdentifier("not a media id")
        return cls(value)


def is_valid_new_localpart(localpart: str) -> bool:
    """Whether a new account may have this localpart: the strict grammar of user identifiers.

    Spec: https://spec.matrix.org/v1.19/appendices/#user-identifiers
    """
    return _NEW_LOCALPART.fullmatch(localpart) is not None
