"""The filter of a sync: an id, or a definition in the request itself. Parsed ones are remembered.

Spec: https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient
from tim_server.matrix.errors import BadJson, InvalidParam, NotFound, TooLarge
from tim_server.matrix.filters import Filter, parse_filter
from tim_server.matrix.identifiers import UserId
from tim_server.services.filters.define import Filters

EVERYTHING = Filter()
REMEMBERED_LENGTH_MAX = 4_096
"""Longer definitions are read anew each time: they would make what is remembered of any size."""


@dataclass(slots=True, kw_only=True)
class FilterChoice:
    """Finds filters; the least recently used are forgotten first."""

    filters: Filters
    remembered_max: int = 2_000
    definition_length_max: int = 65_536
    _remembered: OrderedDict[tuple[str, str], Filter] = field(default_factory=OrderedDict)

    async def find(self, user_id: UserId, given: str | None) -> Filter:
        """The filter that is meant. Raises `InvalidParam` for an unknown id, `BadJson` for what is no definition,
        `TooLarge`."""
        if given is None:
            return EVERYTHING
        is_inline = given.startswith("{")
        key = ("" if is_inline else user_id, given)
        known = self._remembered.get(key)
        if known is not None:
            self._remembered.move_to_end(key)
            return known
        found, length = (self._read(given), len(given)) if is_inline else await self._find(user_id, given)
        if length <= REMEMBERED_LENGTH_MAX:
            self._remembered[key] = found
        if len(self._remembered) > self.remembered_max:
            self._remembered.popitem(last=False)
        return found

    def _read(self, definition: str) -> Filter:
        if len(definition) > self.definition_length_max:
            raise TooLarge(f"A filter must have at most {self.definition_length_max} characters")
        try:
            value = decode_lenient(definition.encode())
        except (CanonicalJsonError, UnicodeEncodeError):
            raise BadJson("filter: not JSON") from None
        if not isinstance(value, dict):
            raise BadJson("filter: must be an object")
        return parse_filter(value)

    async def _find(self, user_id: UserId, filter_id: str) -> tuple[Filter, int]:
        try:
            return await self.filters.find(user_id, filter_id)
        except NotFound:
            raise InvalidParam("filter: there is no such filter") from None
