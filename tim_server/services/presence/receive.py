"""What other servers say of who is there: `m.presence`. Who is told of nothing more counts as offline after a while.

Spec: https://spec.matrix.org/v1.19/server-server-api/#presence
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tim_server.matrix.canonical_json import INTEGER_MAX
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName, UserId
from tim_server.matrix.presence import OFFLINE, ONLINE, UNAVAILABLE, UserPresence
from tim_server.services.presence.audience import PresenceAudience, presence_facts
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection, Database
from tim_server.storage.presence import (
    PRESENCE_STREAM,
    find_silent,
    load_presence,
    prolong_presence,
    put_activity,
    put_presence,
)
from tim_server.storage.room_servers import find_joined_anywhere
from tim_server.storage.writer import Writer

USERS_MAX = 1_000
"""Of how many users one transaction tells."""
TOLD_FOR_MS = 1_800_000
"""How long it holds what a server has said; servers are known to repeat it after 25 minutes."""
SILENT_MAX = 1_000
"""How many users of whom nothing is heard any more are found at once."""


@dataclass(slots=True, kw_only=True)
class PresenceReceiver:
    """Keeps what is said of users of other servers, as far as they are in rooms that this server knows."""

    database: Database
    writer: Writer
    audience: PresenceAudience
    now_ms: Callable[[], int]

    async def receive(self, origin: ServerName, contents: Sequence[Mapping[str, Any]]) -> None:
        """Take in these EDUs; of several about a user the last one counts."""
        now_ms = self.now_ms()
        said = dict(_read_all(contents, origin, now_ms, self.audience.policy.status_msg_length_max))
        if said and self.audience.policy.enabled:
            async with self.database.connection() as connection:
                known = await find_joined_anywhere(connection, said.keys())
            await self._hear([said[user_id] for user_id in known], expires_ts=now_ms + TOLD_FOR_MS)

    async def look_after(self) -> None:
        """Users of whom nothing is heard any more are offline."""
        now_ms = self.now_ms()
        async with self.database.connection() as connection:
            silent = await find_silent(connection, expired_by=now_ms, limit=SILENT_MAX)
        if silent:
            await self.writer.write(_Expire(audience=self.audience, expired_by=now_ms))

    async def _hear(self, said: Sequence[UserPresence], *, expires_ts: int) -> None:
        if not said:
            return
        news = _News(audience=self.audience, said=said, expires_ts=expires_ts)
        async with self.database.transaction() as tx:
            changed, active = await news.decide(tx)
            news.rooms_of = await self.audience.rooms_of(tx, [p.user_id for p in changed]) if changed else {}
            await prolong_presence(tx, [presence.user_id for presence in said], expires_ts=expires_ts)
            await put_activity(tx, active)
        if changed:
            await self.writer.write(news)


def _read_all(
    contents: Iterable[Mapping[str, Any]], origin: ServerName, now_ms: int, length_max: int
) -> Iterable[tuple[UserId, UserPresence]]:
    """What is said of users of the origin, as far as it has the form, of at most `USERS_MAX`."""
    count = 0
    for content in contents:
        pushed = content.get("push")
        for update in pushed if isinstance(pushed, list) else ():
            count += 1
            if count > USERS_MAX:
                return
            said = _read(update, now_ms, length_max)
            if said is not None and said.user_id.server_name == origin:
                yield said.user_id, said


def _read(update: Any, now_ms: int, length_max: int) -> UserPresence | None:
    try:
        user_id, presence = UserId.parse(update["user_id"]), update["presence"]
        ago, status = update.get("last_active_ago"), update.get("status_msg")
    except (InvalidIdentifier, LookupError, TypeError, AttributeError):
        return None
    if presence not in (ONLINE, UNAVAILABLE, OFFLINE):
        return None
    is_sensible = isinstance(ago, int) and 0 <= ago <= INTEGER_MAX
    return UserPresence(
        user_id=user_id,
        presence=presence,
        status_msg=status if isinstance(status, str) and 0 < len(status) <= length_max else None,
        last_active_ts=max(now_ms - ago, 0) if is_sensible else 0,
    )


@dataclass(slots=True, kw_only=True)
class _News:
    """What another server says of its users: decided on what is known, and once more within the commit."""

    audience: PresenceAudience
    said: Sequence[UserPresence]
    expires_ts: int
    rooms_of: dict[UserId, list[int]] = field(default_factory=dict)
    users: tuple[UserId, ...] = ()
    facts: tuple[Fact, ...] = ()
    streams: tuple[str, ...] = (PRESENCE_STREAM,)

    async def decide(self, tx: Connection) -> tuple[list[UserPresence], dict[UserId, int]]:
        """Those of whom others are to be told something, and when those were active of whom they are not."""
        known = await load_presence(tx, self.audience.codec, [said.user_id for said in self.said])
        changed, active = [], {}
        for said in self.said:
            was = known[said.user_id]
            if (said.presence, said.status_msg) != (was.presence, was.status_msg):
                changed.append(said)
            elif said.last_active_ts > was.last_active_ts:
                active[said.user_id] = said.last_active_ts
        return changed, active

    async def store(self, tx: Connection, position: int) -> None:
        """Set what is still to be told."""
        changed, _ = await self.decide(tx)
        await put_presence(tx, self.audience.codec, changed, position, expires_ts=self.expires_ts)
        self.users = tuple(presence.user_id for presence in changed)
        self.facts = presence_facts(self.users, self.rooms_of)


@dataclass(slots=True, kw_only=True)
class _Expire:
    """Users of whom nothing was heard until then."""

    audience: PresenceAudience
    expired_by: int
    users: tuple[UserId, ...] = ()
    facts: tuple[Fact, ...] = ()
    streams: tuple[str, ...] = (PRESENCE_STREAM,)

    async def store(self, tx: Connection, position: int) -> None:
        """Those of whom nothing has been heard meanwhile."""
        silent = await find_silent(tx, expired_by=self.expired_by, limit=SILENT_MAX)
        known = await load_presence(tx, self.audience.codec, silent)
        gone = [replace(known[user_id], presence=OFFLINE) for user_id in silent]
        await put_presence(tx, self.audience.codec, gone, position, expires_ts=self.expired_by)
        self.users = tuple(silent)
        self.facts = presence_facts(silent, await self.audience.rooms_of(tx, silent))
