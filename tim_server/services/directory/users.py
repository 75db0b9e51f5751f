"""Search users by id or display name.

Spec: https://spec.matrix.org/v1.19/client-server-api/#user-directory
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.requester import Requester
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.profiles import read_names_of_users
from tim_server.storage.search_words import folded, words_of
from tim_server.storage.user_directory import UserSearch, search_users

PREFIXES_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDirectoryPolicy:
    """The most results of one search, and whether users find everybody, not only whom they share a room with and who is
    in a public room."""

    results_max: int = 100
    search_all_users: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundUser:
    """A user, with the names of the profile as far as they are set."""

    user_id: UserId
    display_name: str | None
    avatar_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDirectory:
    """Searches local users."""

    database: Database
    codec: Codec
    policy: UserDirectoryPolicy

    async def search(self, requester: Requester, term: str, limit: int) -> tuple[Sequence[FoundUser], bool]:
        """Users who have, for each word of the term, a word that begins with it; and whether there are more of them.

        Of the profile is told what the user has set for everybody, not for a room.
        """
        prefixes = prefixes_of(term)
        if not prefixes:
            return (), False
        limit = min(limit, self.policy.results_max)
        search = UserSearch(
            by=requester.user_id, prefixes=prefixes, everybody=self.policy.search_all_users, limit=limit + 1
        )
        async with self.database.read() as tx:
            found = await search_users(tx, search)
            names = await read_names_of_users(tx, self.codec, found[:limit])
        users = []
        for user_id in found[:limit]:
            fields = {key: decode_lenient(value) for key, value in names.get(user_id, {}).items()}
            users.append(
                FoundUser(user_id=user_id, display_name=fields.get("displayname"), avatar_url=fields.get("avatar_url"))
            )
        return users, len(found) > limit


def prefixes_of(term: str) -> list[str]:
    """What words must begin with: the words of the term, and user ids or their beginnings as a whole."""
    prefixes: list[str] = []
    for part in term.split():
        if part.startswith("@") or ":" in part:
            prefixes.append("@" + folded(part).lstrip("@"))
        else:
            prefixes += words_of(part)
    return [prefix for prefix in dict.fromkeys(prefixes) if prefix != "@"][:PREFIXES_MAX]
