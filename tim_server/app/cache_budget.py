"""One budget of bytes for all caches of a process, split over its homeservers and their caches.

Each cache bounds its entries, which costs less than weighing every object; `entry_bytes` says what one takes. Measured
once with tracemalloc: several thousand entries made as the database driver makes them (no string shared between
entries), with identifiers of 30 to 50 characters, member events with a display name and messages of 120 characters,
and the bytes that the cache had grown by divided by their number. Caches that weigh their entries themselves count one
byte as an entry.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A cache's part of the budget in percent, and about what one of its entries takes."""

    percent: int
    entry_bytes: int = 1


SNAPSHOT_MEMBERS = Share(percent=12, entry_bytes=66)
HEAD_STATE_ENTRIES = Share(percent=16, entry_bytes=280)
PARSED_EVENTS = Share(percent=15)
CLIENT_EVENT_HEADS = Share(percent=7)
EVENT_ROWS = Share(percent=7)
COMMITS = Share(percent=4, entry_bytes=1_030)
EVENTS_OF_COMMITS = Share(percent=8)
ROOMS_OF_SYNCING_USERS = Share(percent=8, entry_bytes=210)
SENT_MEMBERS = Share(percent=4, entry_bytes=165)
ACCESS_TOKENS = Share(percent=2, entry_bytes=800)
HISTORY_VISIBILITIES = Share(percent=2, entry_bytes=107)
FILTERS = Share(percent=2, entry_bytes=4_000)
PUSH_RULES = Share(percent=3)
AUDIENCES = Share(percent=2)
UNREAD_COUNTS = Share(percent=5, entry_bytes=750)
OUTGOING_EVENTS = Share(percent=3)

SHARES = (
    SNAPSHOT_MEMBERS,
    HEAD_STATE_ENTRIES,
    PARSED_EVENTS,
    CLIENT_EVENT_HEADS,
    EVENT_ROWS,
    COMMITS,
    EVENTS_OF_COMMITS,
    ROOMS_OF_SYNCING_USERS,
    SENT_MEMBERS,
    ACCESS_TOKENS,
    HISTORY_VISIBILITIES,
    FILTERS,
    PUSH_RULES,
    AUDIENCES,
    UNREAD_COUNTS,
    OUTGOING_EVENTS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheBudget:
    """What the caches of one homeserver may take together."""

    bytes_max: int = 256 * 2**20

    def entries_max(self, share: Share) -> int:
        """How many entries the cache with this share may hold."""
        return max(1, self.bytes_max * share.percent // 100 // share.entry_bytes)


def cache_budget(bytes_max: int, *, homeserver_count: int) -> CacheBudget:
    """The budget of each homeserver, where `bytes_max` is that of the process."""
    return CacheBudget(bytes_max=bytes_max // homeserver_count)
