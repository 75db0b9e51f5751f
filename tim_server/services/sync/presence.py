"""The `presence` part of an answer: who is there, of those with whom the reader shares rooms.

The tail says whose presence changed, and who came into a room; one look at the database tells everybody what it is.

Spec: https://spec.matrix.org/v1.19/client-server-api/#presence
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.presence import PRESENCE, UserPresence, presence_content
from tim_server.services.presence.audience import PresenceAudience
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.services.sync.answer import events_json
from tim_server.services.sync.parts import NOTHING, Told
from tim_server.services.sync.request import Reading
from tim_server.services.sync.window import Window
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.presence import PRESENCE_STREAM
from tim_server.storage.shared_rooms import MemberStep


@dataclass(frozen=True, slots=True, kw_only=True)
class PresencePart:
    """Part of an answer. `look_ups` knows the presence of users until it changes, `arrivals` which member events have
    brought somebody of whom the others in the room are told."""

    audience: PresenceAudience
    look_ups: SharedLookUps[UserId, UserPresence]
    arrivals: SharedLookUps[MemberStep, bool]
    now_ms: Callable[[], int]

    async def from_tail(self, reading: Reading, window: Window) -> Told | None:
        """The presence of those who changed it or came into a room of the reader's: also of those who are offline now,
        whom the reader may know as they were in a room that both were in before."""
        if not self._is_wanted(reading):
            return NOTHING
        changed = _changed(window)
        steps = window.member_steps
        came = {step.user_id for step, is_arrival in (await self.arrivals.load(steps)).items() if is_arrival}
        wanted = [user_id for user_id in changed | came if self._allows(reading, user_id)]
        if not wanted:
            return NOTHING
        known = (await self.look_ups.load(wanted)).values()
        told = (each for each in known if each.user_id in changed or each != UserPresence(user_id=each.user_id))
        return self._told(reading, window.view.ignored, told)

    async def from_database(self, tx: Connection, reading: Reading, up_to: int) -> Told:
        """Everybody who is there; for an incremental answer, who changed or came."""
        if not self._is_wanted(reading):
            return NOTHING
        if reading.since is None:
            return self._told(reading, reading.ignored, await self.audience.present(tx, reading.user_id))
        changed = await self.audience.changed(tx, reading.user_id, reading.since)
        return self._told(reading, reading.ignored, changed)

    def follow(self, entry: CommitEntry) -> None:
        """The presence of these users has changed."""
        self.look_ups.drop(user_id for user_id, streams in entry.users.items() if PRESENCE_STREAM in streams)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self.look_ups.clear()
        self.arrivals.clear()

    def _is_wanted(self, reading: Reading) -> bool:
        wanted = reading.filter.presence
        return self.audience.policy.enabled and not wanted.allows_nothing

    def _allows(self, reading: Reading, user_id: UserId) -> bool:
        return reading.filter.presence.allows(PRESENCE, user_id)

    def _told(self, reading: Reading, ignored: frozenset[str], known: Iterable[UserPresence]) -> Told:
        """At most as many events as the filter says; what is left out does not come later."""
        now_ms = self.now_ms()
        told = [p for p in known if p.user_id not in ignored and self._allows(reading, p.user_id)]
        limit = reading.filter.presence.limit
        events = [_event(presence, now_ms) for presence in (told if limit is None else told[: max(limit, 1)])]
        return Told(members=(b'"presence":' + events_json(events),), is_news=True) if events else NOTHING


def _event(presence: UserPresence, now_ms: int) -> bytes:
    content = presence_content(presence, now_ms)
    return orjson.dumps({"type": PRESENCE, "sender": presence.user_id, "content": content})


def _changed(window: Window) -> set[UserId]:
    """Whose presence changed, as the facts of the reader's rooms and the reader's own stream say."""
    facts = window.facts_of(PRESENCE_STREAM).values()
    changed = {UserId(user_id) for of_room in facts for fact in of_room for user_id in fact.value}
    return changed | {window.view.user_id} if PRESENCE_STREAM in window.streams else changed
