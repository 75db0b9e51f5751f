"""Which files of this server are avatars, of users or rooms: they are kept however old they are."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from tim_server.matrix.identifiers import InvalidIdentifier, MediaId, ServerName
from tim_server.storage.avatars import page_of_profile_avatars, page_of_room_avatars
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database

ROWS_PER_PAGE = 1_000
_SCHEME = "mxc://"


class _Content(msgspec.Struct):
    url: str | None = None


class _Event(msgspec.Struct):
    content: _Content


@dataclass(frozen=True, slots=True, kw_only=True)
class AvatarsInUse:
    """Finds them. `codec` opens profiles and events."""

    server_name: ServerName
    database: Database
    codec: Codec

    async def find(self) -> set[MediaId]:
        """All of them, as they are now; read page by page, as there is one for each user and each room at most."""
        return {*await self._of_users(), *await self._of_rooms()}

    async def _of_users(self) -> set[MediaId]:
        found: set[MediaId] = set()
        after: str | None = ""
        while after is not None:
            async with self.database.connection() as connection:
                values, after = await page_of_profile_avatars(connection, self.codec, after=after, limit=ROWS_PER_PAGE)
            found.update(self._own(_text_in(value) for value in values))
        return found

    async def _of_rooms(self) -> set[MediaId]:
        found: set[MediaId] = set()
        after: int | None = 0
        while after is not None:
            async with self.database.connection() as connection:
                bodies, after = await page_of_room_avatars(connection, self.codec, after=after, limit=ROWS_PER_PAGE)
            found.update(self._own(_url_in(body) for body in bodies))
        return found

    def _own(self, urls: Iterable[str | None]) -> Iterable[MediaId]:
        prefix = f"{_SCHEME}{self.server_name}/"
        for url in urls:
            if url is None or not url.startswith(prefix):
                continue
            try:
                yield MediaId.parse(url.removeprefix(prefix))
            except InvalidIdentifier:
                continue


def _text_in(value: bytes) -> str | None:
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _url_in(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Event).content.url
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
