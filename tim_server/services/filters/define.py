"""Define filters, and find them again.

Spec: https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tim_server.matrix.errors import Forbidden, NotFound, TooLarge, Unavailable
from tim_server.matrix.filters import Filter, parse_filter
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.json_values import encode_json
from tim_server.storage.database import Database
from tim_server.storage.filters import put_filter, read_filter

_FILTER_ID = re.compile(r"[0-9]{1,18}")
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterPolicy:
    """How much a user may define."""

    definition_bytes_max: int = 65_536
    per_user_max: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of one server's users."""

    database: Database
    policy: FilterPolicy

    async def define(self, requester: Requester, user_id: UserId, definition: Mapping[str, Any]) -> str:
        """Keep a definition; its id, which is the same for equal definitions.

        Raises `Forbidden` for another user's, `TooLarge`, and `BadJson` or `InvalidParam` for one that is not valid.
        """
        _check_owner(requester, user_id)
        parse_filter(definition)
        encoded = encode_json(definition)
        if len(encoded) > self.policy.definition_bytes_max:
            raise TooLarge(f"A filter must have at most {self.policy.definition_bytes_max} bytes")
        for _ in range(_TRIES):
            async with self.database.transaction() as tx:
                filter_id = await put_filter(tx, user_id, encoded, per_user_max=self.policy.per_user_max)
            if filter_id is not None:
                return str(filter_id)
        raise Unavailable()

    async def definition(self, requester: Requester, user_id: UserId, filter_id: str) -> bytes:
        """The definition as it was given, as JSON; raises `Forbidden` for another user's, and `NotFound`."""
        _check_owner(requester, user_id)
        return await self._read(user_id, filter_id)

    async def find(self, user_id: UserId, filter_id: str) -> tuple[Filter, int]:
        """The filter with this id, parsed, and the size of its definition in bytes; raises `NotFound`."""
        definition = await self._read(user_id, filter_id)
        return parse_filter(orjson.loads(definition)), len(definition)

    async def _read(self, user_id: UserId, filter_id: str) -> bytes:
        definition = None
        if _FILTER_ID.fullmatch(filter_id):
            async with self.database.connection() as connection:
                definition = await read_filter(connection, user_id, int(filter_id))
        if definition is None:
            raise NotFound("There is no such filter")
        return definition


def _check_owner(requester: Requester, user_id: UserId) -> None:
    if requester.user_id != user_id:
        raise Forbidden("This is another user's filter")
