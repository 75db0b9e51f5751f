"""Look profiles up.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuserid
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden, NotFound
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.profile.fields import ProfilePolicy
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.profiles import read_fields
from tim_server.storage.users import find_user

FetchRemoteProfile = Callable[[UserId], Awaitable[Mapping[str, bytes]]]
"""Asks another server for a profile: fields as JSON values. Raises `MatrixError`s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileReader:
    """Reads profiles. `fetch_remote` None means that this server does not federate."""

    server_name: ServerName
    database: Database
    codec: Codec
    policy: ProfilePolicy
    fetch_remote: FetchRemoteProfile | None = None

    async def profile(self, user_id: UserId, requester: Requester | None) -> Mapping[str, bytes]:
        """All fields, as JSON values. Raises `NotFound`, and `Forbidden` where looking up takes an account."""
        if requester is None and self.policy.lookup_requires_account:
            raise Forbidden("Looking profiles up takes an account on this server")
        if user_id.server_name == self.server_name:
            return await self.local_profile(user_id)
        if self.fetch_remote is None:
            raise NotFound("There is no such profile")
        if requester is None:
            raise Forbidden("Looking up profiles of other servers takes an account")
        return await self.fetch_remote(user_id)

    async def field(self, user_id: UserId, field: str, requester: Requester | None) -> bytes:
        """One field, as a JSON value. Raises `NotFound` where it is not set, and what `profile` raises."""
        fields = await self.profile(user_id, requester)
        if field not in fields:
            raise NotFound("The profile has no such field")
        return fields[field]

    async def local_profile(self, user_id: UserId) -> Mapping[str, bytes]:
        """All fields of an account of this server, as JSON values; raises `NotFound` where there is no such account."""
        async with self.database.read() as tx:
            fields = await read_fields(tx, self.codec, user_id)
            if not fields:
                user = await find_user(tx, user_id)
                if user is None or user.deactivated_ts is not None:
                    raise NotFound("There is no such profile")
        return fields
