"""The user directory: by which words each local user is found. Derived from users and profiles.

The words of user ids and display names stand here in plain text, also where content is sealed: an index over sealed
names could not find the beginning of a word. Names themselves are read from the sealed profile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.profiles import read_names_of_users
from tim_server.storage.search_words import folded, words_of
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="user_directory",
        owner="services.profile, services.accounts",
        bound="some forty words an account",
        reaper="deactivation",
        derived=True,
    ),
)

SELECT_WORDS = "SELECT user_id, word FROM user_directory WHERE user_id = ANY($1)"
DELETE_WORDS = "DELETE FROM user_directory WHERE user_id = ANY($1)"
INSERT_WORDS = """
INSERT INTO user_directory (user_id, word) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING
"""


def words_of_user(user_id: UserId, names: Mapping[str, bytes]) -> set[str]:
    """The whole user id, and the words of its localpart and of the display name among the profile fields `names`."""
    display_name = orjson.loads(names.get("displayname", b'""'))
    told = display_name if isinstance(display_name, str) else ""
    return {folded(user_id), *words_of(user_id.localpart), *words_of(told)}


async def index_users(tx: Connection, codec: Codec, users: Sequence[UserId]) -> int:
    """Bring the words of these accounts up to date with their profiles; how many were missing or wrong."""
    names = await read_names_of_users(tx, codec, users)
    wanted = {(user_id, word) for user_id in users for word in words_of_user(user_id, names.get(user_id, {}))}
    found = {(row["user_id"], row["word"]) for row in await tx.fetch(SELECT_WORDS, users)}
    if wanted != found:
        await tx.execute(DELETE_WORDS, users)
        await tx.execute(INSERT_WORDS, [user_id for user_id, _ in wanted], [word for _, word in wanted])
    return len(wanted ^ found)


async def remove_users(tx: Connection, users: Sequence[UserId]) -> None:
    """Let these accounts be found no more."""
    await tx.execute(DELETE_WORDS, users)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSearch:
    """Who is looked for: users who have, for each prefix, a word that begins with it. `by` sees others who share a
    room with them, and who is in an open one; or `everybody`."""

    by: UserId
    prefixes: Sequence[str]
    everybody: bool
    limit: int


SEARCH_USERS = """
WITH matched AS (
    SELECT d.user_id, bool_or(d.word = $2) AS exact
    FROM user_directory AS d
    WHERE d.word >= $2 AND d.word < $3 AND NOT EXISTS (
        SELECT FROM unnest($4::text[]) AS further (prefix) WHERE NOT EXISTS (
            SELECT FROM user_directory AS other
            WHERE other.user_id = d.user_id AND starts_with(other.word, further.prefix)
        )
    )
    GROUP BY d.user_id
),
own_rooms AS MATERIALIZED (SELECT room_nid FROM memberships WHERE user_id = $1 AND membership = 'join')
SELECT m.user_id FROM matched AS m JOIN users AS u ON u.user_id = m.user_id
WHERE u.deactivated_ts IS NULL AND u.locked_ts IS NULL AND NOT u.is_guest AND u.user_type IS DISTINCT FROM 'support'
  AND ($5 OR EXISTS (
    SELECT FROM memberships AS j WHERE j.user_id = m.user_id AND j.membership = 'join' AND (
        j.room_nid IN (SELECT room_nid FROM open_rooms)
        OR (j.user_id <> $1 AND j.room_nid IN (SELECT room_nid FROM own_rooms))
    )
  ))
ORDER BY m.exact DESC, m.user_id LIMIT $6
"""


async def search_users(tx: Connection, search: UserSearch) -> list[UserId]:
    """Those who are found; whole words first, then in order of user ids.

    Deactivated, locked, guest and support accounts are left out. However many have a fitting name, the server "MUST
    consider" all whom the user may see: the beginning of a name that thousands have costs a look at each of them.
    """
    longest, *further = sorted(search.prefixes, key=len, reverse=True)
    rows = await tx.fetch(
        SEARCH_USERS,
        search.by,
        longest,
        longest + "\U0010ffff",  # sorts after everything that begins with the prefix
        further,
        search.everybody,
        search.limit,
    )
    return [UserId(row["user_id"]) for row in rows]


SELECT_ACTIVE_USERS = """
SELECT user_id FROM users WHERE deactivated_ts IS NULL AND user_id > $1 ORDER BY user_id LIMIT $2
"""
DELETE_WORDS_OF_OTHERS = """
WITH gone AS (
    DELETE FROM user_directory AS d
    WHERE NOT EXISTS (SELECT FROM users AS u WHERE u.user_id = d.user_id AND u.deactivated_ts IS NULL) RETURNING 1
)
SELECT count(*) FROM gone
"""
USERS_AT_ONCE = 500


async def rebuild_user_directory(tx: Connection, codec: Codec) -> int:
    """Make the directory anew; how many words were missing or wrong."""
    mended: int = await tx.fetchval(DELETE_WORDS_OF_OTHERS)
    after = ""
    while rows := await tx.fetch(SELECT_ACTIVE_USERS, after, USERS_AT_ONCE):
        users = [UserId(row["user_id"]) for row in rows]
        mended += await index_users(tx, codec, users)
        after = users[-1]
    return mended
