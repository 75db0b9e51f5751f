"""Which account a client means when it logs in.

Spec: https://spec.matrix.org/v1.19/client-server-api/#identifier-types
"""

from collections.abc import Mapping
from typing import Any

from tim_server.matrix.errors import BadJson, Forbidden, MissingParam, Unknown
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName, UserId


def identified_users(fields: Mapping[str, Any], server_name: ServerName) -> list[UserId]:
    """The user ids that `fields` (of a login, or of an `auth` object) may mean, the likeliest first; empty for users
    of other servers.

    Reads `identifier`, and the older `user`, `medium` and `address` beside it. Raises `Forbidden` for third-party
    identifiers, none of which belongs to an account here, and `MissingParam`, `BadJson` or `Unknown` for the rest.
    """
    identifier = fields.get("identifier")
    if identifier is None:
        identifier = _older_identifier(fields)
    if not isinstance(identifier, Mapping):
        raise BadJson("identifier must be an object")
    kind = identifier.get("type")
    if kind in ("m.id.thirdparty", "m.id.phone") or (kind is None and "medium" in identifier):
        raise Forbidden("No account has this third-party identifier")
    if kind != "m.id.user":
        raise Unknown("This type of identifier is not known")
    name = identifier.get("user")
    if not isinstance(name, str):
        raise MissingParam("identifier.user is missing")
    return _spellings(name, server_name)


def _older_identifier(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if fields.get("user") is not None:
        return {"type": "m.id.user", "user": fields["user"]}
    if fields.get("medium") is not None:
        return {"type": "m.id.thirdparty"}
    raise MissingParam("identifier is missing")


def _spellings(name: str, server_name: ServerName) -> list[UserId]:
    """The name as given (older accounts may have capital letters), then in lower case."""
    full = name if name.startswith("@") else f"@{name}:{server_name}"
    try:
        user_id = UserId.parse(full)
        if user_id.server_name != server_name:
            return []
        lower = UserId.parse(f"@{user_id.localpart.lower()}:{server_name}")
    except InvalidIdentifier:
        return []
    return [user_id] if user_id == lower else [user_id, lower]
