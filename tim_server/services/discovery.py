"""What the server says of itself: well-known documents, and what its users may do.

Spec: https://spec.matrix.org/v1.19/client-server-api/#server-discovery
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.room_versions import ROOM_VERSIONS
from tim_server.services.profile.fields import AVATAR_URL, DISPLAYNAME, ProfilePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class WellKnown:
    """The documents under `/.well-known/matrix`; None where the operator has not set one.

    `client` has `m.homeserver` at least, `server` has `m.server`, `support` has `contacts` or `support_page`.
    """

    client: Mapping[str, Any] | None = None
    server: Mapping[str, Any] | None = None
    support: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What clients may ask of this server.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation
    """

    password_change_allowed: bool
    default_room_version: str
    profile: ProfilePolicy

    def document(self) -> dict[str, Any]:
        """The value of `capabilities`."""
        fields: dict[str, Any] = {"enabled": self.profile.changes_enabled}
        if self.profile.allowed is not None:
            fields["allowed"] = sorted(self.profile.allowed)
        elif self.profile.disallowed:
            fields["disallowed"] = sorted(self.profile.disallowed)
        return {
            "m.change_password": {"enabled": self.password_change_allowed},
            "m.forget_forced_upon_leave": {"enabled": False},
            "m.room_versions": {
                "default": self.default_room_version,
                "available": {identifier: "stable" for identifier in ROOM_VERSIONS},
            },
            "m.profile_fields": fields,
            "m.set_displayname": {"enabled": self.profile.may_change(DISPLAYNAME)},
            "m.set_avatar_url": {"enabled": self.profile.may_change(AVATAR_URL)},
            "m.3pid_changes": {"enabled": False},
            "m.get_login_token": {"enabled": False},
        }
