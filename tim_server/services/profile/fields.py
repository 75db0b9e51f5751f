"""What a profile field may be called and hold.

Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname
"""

import re
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import InvalidParam, KeyTooLarge

DISPLAYNAME = "displayname"
AVATAR_URL = "avatar_url"
TIME_ZONE = "m.tz"
IN_MEMBER_EVENTS = frozenset({DISPLAYNAME, AVATAR_URL})
"""The fields that member events repeat."""

KEY_BYTES_MAX = 255
PROFILE_BYTES_MAX = 65_536
DISPLAYNAME_LENGTH_MAX = 256
AVATAR_URL_LENGTH_MAX = 1000

_FIELD_NAME = re.compile(r"avatar_url|displayname|[a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)+")
_MXC_URI = re.compile(r"mxc://[^/\s]+/[A-Za-z0-9_-]+")
_TIME_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePolicy:
    """Who may change which fields, and whether looking profiles up takes an account.

    `allowed` None means all but `disallowed`, as in the capability `m.profile_fields`.
    """

    changes_enabled: bool = True
    allowed: frozenset[str] | None = None
    disallowed: frozenset[str] = frozenset()
    lookup_requires_account: bool = False

    def may_change(self, field: str) -> bool:
        """Whether users may set and delete this field."""
        if not self.changes_enabled:
            return False
        return field in self.allowed if self.allowed is not None else field not in self.disallowed


def check_name(field: str) -> None:
    """Raise `KeyTooLarge` or `InvalidParam` for a name that no field can have."""
    if len(field.encode()) > KEY_BYTES_MAX:
        raise KeyTooLarge()
    if not _FIELD_NAME.fullmatch(field):
        raise InvalidParam("Not the name of a profile field")


def check_value(field: str, value: Any) -> None:
    """Raise `InvalidParam` for a value that this field can't have; fields that the specification does not define may
    hold any JSON."""
    if field == DISPLAYNAME and not (isinstance(value, str) and len(value) <= DISPLAYNAME_LENGTH_MAX):
        raise InvalidParam(f"displayname must be a string of at most {DISPLAYNAME_LENGTH_MAX} characters")
    if field == AVATAR_URL and not _is_avatar_url(value):
        raise InvalidParam("avatar_url must be an MXC URI")
    if field == TIME_ZONE and not (isinstance(value, str) and len(value) <= 64 and _TIME_ZONE.fullmatch(value)):
        raise InvalidParam("m.tz must be the name of a time zone")


def _is_avatar_url(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > AVATAR_URL_LENGTH_MAX:
        return False
    return value == "" or _MXC_URI.fullmatch(value) is not None
