"""The content of member events: the membership, with the name and avatar of whom it is about.

Spec: https://spec.matrix.org/v1.19/client-server-api/#mroommember
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.profiles import read_names_of_users

MEMBER = "m.room.member"
AUTHORISED_VIA = "join_authorised_via_users_server"
"""The key that names who authorised a restricted join: only the server sets it."""


async def load_names(tx: Connection, codec: Codec, users: Sequence[UserId]) -> dict[UserId, dict[str, Any]]:
    """`displayname` and `avatar_url` of each user, as far as this server knows them."""
    stored = await read_names_of_users(tx, codec, users)
    return {
        user_id: {field: decode_lenient(value) for field, value in fields.items()} for user_id, fields in stored.items()
    }


def member_content(membership: str, *, names: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
    """The content of a member event."""
    content = {"membership": membership, **names}
    if reason is not None:
        content["reason"] = reason
    return content


def with_names(content: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The content with display name and avatar, unless it has one of them already."""
    return dict(content) if content.keys() & {"displayname", "avatar_url"} else {**names, **content}


def membership_in(content: Mapping[str, Any] | None) -> str | None:
    """The membership that a content states; None where there is no event or it states none."""
    value = None if content is None else content.get("membership")
    return value if isinstance(value, str) else None
