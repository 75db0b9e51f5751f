"""The rules of a homeserver for presence."""

from dataclasses import dataclass

from tim_server.matrix.presence import PresenceTimes

NOTE_INTERVAL_MS = 15_000
"""How often it is noted that a device still syncs; so much later than it happens is its silence seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresencePolicy:
    """`enabled`: without it everybody is offline. `offline_after_ms`: after how long without a sync a user is offline.
    Rooms of more members than `room_members_max` don't spread presence: everybody in a room is told of everybody."""

    enabled: bool = True
    idle_after_ms: int = 300_000
    offline_after_ms: int = 30_000
    room_members_max: int = 100
    status_msg_length_max: int = 1_000

    @property
    def times(self) -> PresenceTimes:
        """When users are idle or gone, as far as the notes tell."""
        return PresenceTimes(
            idle_after_ms=self.idle_after_ms, offline_after_ms=self.offline_after_ms + NOTE_INTERVAL_MS
        )
