"""Users who take no invites.

Spec: https://spec.matrix.org/v1.19/client-server-api/#invite-permission
"""

from collections.abc import Sequence

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import InviteBlocked
from tim_server.matrix.identifiers import UserId
from tim_server.storage.account_data import read_global_of_users
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection

INVITE_PERMISSION = "m.invite_permission_config"


async def check_take_invites(tx: Connection, codec: Codec, users: Sequence[UserId]) -> None:
    """Raise `InviteBlocked` where one of these users has said that they take no invites."""
    settings = await read_global_of_users(tx, codec, users, INVITE_PERMISSION)
    for user_id, content in settings.items():
        if decode_lenient(content).get("default_action") == "block":
            raise InviteBlocked(f"{user_id} takes no invites")
