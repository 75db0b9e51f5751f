"""Keep what a user's clients store: set it, and give it back.

Spec: https://spec.matrix.org/v1.19/client-server-api/#client-config
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, InvalidParam, NotFound, ServerManagedAccountData, TooLarge
from tim_server.matrix.identifiers import ID_BYTES_MAX, RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.json_values import encode_json
from tim_server.services.push_rules.read import PUSH_RULES_EVENT, load_push_rules_content
from tim_server.storage.account_data import (
    GLOBAL,
    count_account_data,
    has_account_data,
    put_account_data,
    read_account_data,
)
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.writer import Writer

ACCOUNT_DATA = "account_data"
"""The commit log's stream for account data, global and of rooms."""

SERVER_MANAGED = frozenset({"m.fully_read", PUSH_RULES_EVENT})
"""Types that clients read here, but set elsewhere; of rooms and global alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDataPolicy:
    """How much a user may store."""

    content_bytes_max: int = 262_144
    entries_per_user_max: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountData:
    """Global account data where `room_id` is None, else that of a room."""

    database: Database
    writer: Writer
    codec: Codec
    policy: AccountDataPolicy

    async def put(
        self, requester: Requester, user_id: UserId, event_type: str, content: Mapping[str, Any], room_id: RoomId | None
    ) -> None:
        """Set an entry. Raises `Forbidden` for another user's, `ServerManagedAccountData`, `InvalidParam` for a type
        that is too long, `TooLarge`, `BadJson`."""
        _check_owner(requester, user_id)
        if event_type in SERVER_MANAGED:
            raise ServerManagedAccountData(f"{event_type} can't be set here")
        if not 0 < len(event_type.encode()) <= ID_BYTES_MAX:
            raise InvalidParam(f"The type must have 1 to {ID_BYTES_MAX} bytes")
        encoded = encode_json(content)
        if len(encoded) > self.policy.content_bytes_max:
            raise TooLarge(f"Account data must have at most {self.policy.content_bytes_max} bytes")
        await self.store(user_id, event_type, encoded, room_id)

    async def store(self, user_id: UserId, event_type: str, content: bytes, room_id: RoomId | None) -> None:
        """Set an entry for the server itself, of any type; raises `TooLarge` when the user has too many."""
        await self.writer.write(self.put_write(user_id, event_type, content, room_id))

    def put_write(self, user_id: UserId, event_type: str, content: bytes, room_id: RoomId | None) -> "PutAccountData":
        """The write that sets an entry of any type, for services that write more together with it."""
        return PutAccountData(
            users=(user_id,),
            room_id=GLOBAL if room_id is None else room_id,
            event_type=event_type,
            stored=self.codec.encode(content),
            entries_max=self.policy.entries_per_user_max,
        )

    async def read(self, requester: Requester, user_id: UserId, event_type: str, room_id: RoomId | None) -> bytes:
        """The content of an entry, as a JSON object; raises `Forbidden` for another user's, and `NotFound`."""
        _check_owner(requester, user_id)
        async with self.database.connection() as connection:
            if event_type == PUSH_RULES_EVENT and room_id is None:
                return await load_push_rules_content(connection, self.codec, user_id)
            content = await read_account_data(
                connection, self.codec, user_id, room_id=GLOBAL if room_id is None else room_id, event_type=event_type
            )
        if content is None:
            raise NotFound("There is no account data of this type")
        return content


def _check_owner(requester: Requester, user_id: UserId) -> None:
    if requester.user_id != user_id:
        raise Forbidden("This is another user's account data")


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAccountData:
    """Sets an entry, in the next commit."""

    users: tuple[UserId, ...]
    room_id: str
    event_type: str
    stored: bytes
    entries_max: int
    streams: tuple[str, ...] = (ACCOUNT_DATA,)

    async def store(self, tx: Connection, position: int) -> None:
        """Raises `TooLarge` for an entry too many."""
        user_id = self.users[0]
        is_known = await has_account_data(tx, user_id, room_id=self.room_id, event_type=self.event_type)
        if not is_known and await count_account_data(tx, user_id) >= self.entries_max:
            raise TooLarge("There is too much account data")
        await put_account_data(
            tx, user_id, room_id=self.room_id, event_type=self.event_type, stored=self.stored, position=position
        )
