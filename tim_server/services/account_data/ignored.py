"""Whom a user ignores.

Spec: https://spec.matrix.org/v1.19/client-server-api/#ignoring-users
"""

import orjson

from tim_server.matrix.identifiers import UserId
from tim_server.storage.account_data import GLOBAL, read_account_data
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection

IGNORED_USERS = "m.ignored_user_list"


async def load_ignored_users(tx: Connection, codec: Codec, user_id: UserId) -> frozenset[str]:
    """The users whom this user ignores."""
    content = await read_account_data(tx, codec, user_id, room_id=GLOBAL, event_type=IGNORED_USERS)
    return ignored_users(content, user_id)


def ignored_users(content: bytes | None, user_id: UserId) -> frozenset[str]:
    """The users that this user's account data names; nobody where it is of another form. Nobody ignores themselves."""
    users = {} if content is None else orjson.loads(content).get("ignored_users")
    return frozenset(users) - {user_id} if isinstance(users, dict) else frozenset()
