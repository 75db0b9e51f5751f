"""Change profile fields. Display name and avatar are repeated in the member events of the user's rooms.

Spec: https://spec.matrix.org/v1.19/client-server-api/#events-on-change-of-profile-information
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, ProfileTooLarge, UserSuspended
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.json_values import encode_json
from tim_server.services.profile.fields import (
    DISPLAYNAME,
    IN_MEMBER_EVENTS,
    PROFILE_BYTES_MAX,
    ProfilePolicy,
    check_name,
    check_value,
)
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.profiles import delete_field, put_field, read_fields
from tim_server.storage.user_directory import index_users
from tim_server.storage.writer import Writer

PROFILE = "profile"
"""The commit log's stream for changes of a user's profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChange:
    """Sets and deletes fields. `propagate` brings a user's member events up to date with the profile."""

    writer: Writer
    codec: Codec
    policy: ProfilePolicy
    propagate: Callable[[UserId], Awaitable[None]]

    async def set_field(self, requester: Requester, user_id: UserId, field: str, value: Any) -> None:
        """Set a field; an empty display name or avatar is a deletion, as it was before there was an endpoint for that.

        Raises `Forbidden`, `UserSuspended`, `InvalidParam`, `KeyTooLarge`, `ProfileTooLarge`, `BadJson`.
        """
        self._check_may_change(requester, user_id, field)
        check_value(field, value)
        is_deletion = field in IN_MEMBER_EVENTS and value == ""
        await self._write(user_id, field, None if is_deletion else encode_json(value))

    async def delete_field(self, requester: Requester, user_id: UserId, field: str) -> None:
        """Delete a field, if it is there; raises `Forbidden`, `UserSuspended`, `InvalidParam`, `KeyTooLarge`."""
        self._check_may_change(requester, user_id, field)
        await self._write(user_id, field, None)

    def _check_may_change(self, requester: Requester, user_id: UserId, field: str) -> None:
        check_name(field)
        if requester.user_id != user_id:
            raise Forbidden("Only the user may change a profile")
        if requester.is_guest and field != DISPLAYNAME:
            raise Forbidden("Guests may only change their display name")
        if requester.is_suspended:
            raise UserSuspended()
        if not self.policy.may_change(field):
            raise Forbidden("This field can't be changed on this server")

    async def _write(self, user_id: UserId, field: str, value: bytes | None) -> None:
        await self.writer.write(_Change(users=(user_id,), field=field, value=value, codec=self.codec))
        if field in IN_MEMBER_EVENTS:
            await self.propagate(user_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    users: tuple[UserId, ...]
    field: str
    value: bytes | None
    codec: Codec
    streams: tuple[str, ...] = (PROFILE,)

    async def store(self, tx: Connection, position: int) -> None:
        user_id = self.users[0]
        await self._store_field(tx, user_id, position)
        if self.field == DISPLAYNAME:
            await index_users(tx, self.codec, [user_id])

    async def _store_field(self, tx: Connection, user_id: UserId, position: int) -> None:
        if self.value is None:
            await delete_field(tx, user_id, self.field)
            return
        fields = {**await read_fields(tx, self.codec, user_id), self.field: self.value}
        if size_bytes(fields) > PROFILE_BYTES_MAX:
            raise ProfileTooLarge()
        await put_field(tx, user_id, self.field, self.codec.encode(self.value), position=position)


def size_bytes(fields: dict[str, bytes]) -> int:
    """The size of a profile as the JSON object that `GET /profile/{userId}` gives."""
    return 1 + sum(len(field.encode()) + len(value) + len('"":,') for field, value in fields.items())
