"""State of rooms. The log: packed snapshots, and which snapshot is the room's resolved state from which position on.
Derived: `current_state`, which spares readers of the newest state from unpacking a snapshot.

A snapshot is a set of state event nids: that of its parent, less `removed`, plus `added`. What a nid names never
changes, so snapshots are cached without limit of time.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="state_snapshots", owner="storage.room_commits", bound="one delta a state change", reaper="room purge"
    ),
    TableContract(
        name="room_state_log",
        owner="storage.room_commits",
        bound="one row a commit that changes state",
        reaper="room purge",
    ),
    TableContract(
        name="current_state",
        owner="storage.room_commits",
        bound="one row a state key",
        reaper="room purge, state reset",
        derived=True,
    ),
)

DELTA_DEPTH_MAX = 50
MEMBERS_MAX = 2_000_000

StateNids = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRow:
    """A row of `state_snapshots`; a full snapshot has no parent and depth 0."""

    nid: int
    room_nid: int
    parent: int | None
    depth: int
    added: Sequence[int]
    removed: Sequence[int] = ()


INSERT_SNAPSHOTS = """
INSERT INTO state_snapshots (nid, room_nid, parent, depth, added, removed)
SELECT nid, room_nid, parent, depth, added::bigint[], removed::bigint[]
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::text[], $6::text[])
     AS new (nid, room_nid, parent, depth, added, removed)
"""


async def insert_snapshots(tx: Connection, rows: Sequence[SnapshotRow]) -> None:
    """Store new snapshots."""
    await tx.execute(
        INSERT_SNAPSHOTS,
        [row.nid for row in rows],
        [row.room_nid for row in rows],
        [row.parent for row in rows],
        [row.depth for row in rows],
        [bigint_array(row.added) for row in rows],
        [bigint_array(row.removed) for row in rows],
    )


def bigint_array(values: Sequence[int]) -> str:
    """A PostgreSQL array literal: arrays of arrays of several lengths can't be passed otherwise."""
    return "{" + ",".join(map(str, values)) + "}"


LOAD_SNAPSHOTS = """
WITH RECURSIVE chain (root, level, parent, added, removed) AS (
    SELECT nid, 0, parent, added, removed FROM state_snapshots WHERE nid = ANY($1)
    UNION ALL
    SELECT chain.root, chain.level + 1, s.parent, s.added, s.removed
    FROM chain JOIN state_snapshots AS s ON s.nid = chain.parent
)
SELECT root, added, removed FROM chain ORDER BY root, level DESC
"""


async def load_snapshots(tx: Connection, nids: Iterable[int]) -> dict[int, frozenset[int]]:
    """The state event nids of each snapshot, unpacked, in one query."""
    wanted = list(nids)
    if not wanted:
        return {}
    sets: dict[int, set[int]] = {}
    for row in await tx.fetch(LOAD_SNAPSHOTS, wanted):
        members = sets.setdefault(row["root"], set())
        members.difference_update(row["removed"])
        members.update(row["added"])
    return {nid: frozenset(members) for nid, members in sets.items()}


FIND_IN_SNAPSHOTS = """
WITH RECURSIVE chain (nid, parent) AS (
    SELECT nid, parent FROM state_snapshots WHERE nid = ANY($1)
    UNION
    SELECT s.nid, s.parent FROM chain JOIN state_snapshots AS s ON s.nid = chain.parent
)
SELECT chain.nid, chain.parent,
       ARRAY(SELECT unnest(s.added) INTERSECT SELECT unnest($2::bigint[])) AS added,
       ARRAY(SELECT unnest(s.removed) INTERSECT SELECT unnest($2::bigint[])) AS removed
FROM chain JOIN state_snapshots AS s ON s.nid = chain.nid
"""


async def find_in_snapshots(
    tx: Connection, snapshots: Collection[int], candidates: Collection[int]
) -> dict[int, frozenset[int]]:
    """Which of the candidates, nids of state events, each snapshot holds: in one query, and without unpacking what may
    be the state of a large room many times over."""
    if not snapshots or not candidates:
        return dict.fromkeys(snapshots, frozenset())
    rows = await tx.fetch(FIND_IN_SNAPSHOTS, list(snapshots), list(candidates))
    steps = {row["nid"]: row for row in rows}
    held: dict[int, frozenset[int]] = {}
    for snapshot in snapshots:
        path = [snapshot] if snapshot in steps else []
        while path and path[-1] not in held and steps[path[-1]]["parent"] in steps:
            path.append(steps[path[-1]]["parent"])
        for nid in reversed(path):
            if nid not in held:
                before = held.get(steps[nid]["parent"], frozenset())
                held[nid] = (before - set(steps[nid]["removed"])) | set(steps[nid]["added"])
    return {snapshot: held.get(snapshot, frozenset()) for snapshot in snapshots}


@dataclass(slots=True)
class SnapshotCache:
    """Unpacked snapshots, least recently used dropped first; `members_max` bounds the nids held over all."""

    members_max: int = MEMBERS_MAX
    _sets: OrderedDict[int, frozenset[int]] = field(default_factory=OrderedDict)
    _members: int = 0

    def remembered(self, nids: Collection[int]) -> dict[int, frozenset[int]] | None:
        """These snapshots, where all are remembered."""
        if not all(nid in self._sets for nid in nids):
            return None
        return {nid: self._sets[nid] for nid in nids}

    async def load(self, tx: Connection, nids: Iterable[int]) -> dict[int, frozenset[int]]:
        """As `load_snapshots`, asking only for those that are not remembered."""
        wanted = set(nids)
        found = {nid: self._sets[nid] for nid in wanted if nid in self._sets}
        for nid in found:
            self._sets.move_to_end(nid)
        missing = wanted - found.keys()
        if missing:
            loaded = await load_snapshots(tx, missing)
            found |= loaded
            for nid, members in loaded.items():
                self._remember(nid, members)
        return found

    def _remember(self, nid: int, members: frozenset[int]) -> None:
        if nid not in self._sets:
            self._sets[nid] = members
            self._members += len(members)
        while self._members > self.members_max and len(self._sets) > 1:
            _, dropped = self._sets.popitem(last=False)
            self._members -= len(dropped)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._sets.clear()
        self._members = 0


LOAD_STATE_KEYS = "SELECT nid, type, state_key FROM events WHERE nid = ANY($1)"


async def load_state_keys(tx: Connection, nids: Iterable[int]) -> dict[tuple[str, str], int]:
    """The state map (type, state key) → nid of these state events."""
    return {(row["type"], row["state_key"]): row["nid"] for row in await tx.fetch(LOAD_STATE_KEYS, list(nids))}


async def load_keys_of(tx: Connection, nids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """The key (type, state key) of each of these state events, also where several have the same."""
    return {row["nid"]: (row["type"], row["state_key"]) for row in await tx.fetch(LOAD_STATE_KEYS, list(nids))}


LOAD_SNAPSHOT_DEPTHS = "SELECT nid, depth FROM state_snapshots WHERE nid = ANY($1)"


async def load_snapshot_depths(tx: Connection, nids: Iterable[int]) -> dict[int, int]:
    """How many deltas each snapshot is away from a full one."""
    return {row["nid"]: row["depth"] for row in await tx.fetch(LOAD_SNAPSHOT_DEPTHS, list(nids))}


LOAD_CURRENT_STATE = "SELECT type, state_key, event_nid FROM current_state WHERE room_nid = $1"


async def load_current_state(tx: Connection, room_nid: int) -> dict[tuple[str, str], int]:
    """The room's resolved state: (type, state key) → nid."""
    return {(row["type"], row["state_key"]): row["event_nid"] for row in await tx.fetch(LOAD_CURRENT_STATE, room_nid)}


LOAD_CURRENT_STATE_OF_KEYS = """
SELECT s.room_nid, s.type, s.state_key, s.event_nid
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS wanted (room_nid, type, state_key)
JOIN current_state AS s USING (room_nid, type, state_key)
"""


async def load_current_state_of_keys(
    tx: Connection, keys: Sequence[tuple[int, str, str]]
) -> dict[tuple[int, str, str], int]:
    """Nids of the current state events of these (room nid, type, state key)."""
    rooms, types, state_keys = zip(*keys, strict=True) if keys else ((), (), ())
    rows = await tx.fetch(LOAD_CURRENT_STATE_OF_KEYS, list(rooms), list(types), list(state_keys))
    return {(row["room_nid"], row["type"], row["state_key"]): row["event_nid"] for row in rows}


LOAD_SNAPSHOTS_AT = """
SELECT wanted.room_nid, wanted.position, log.snapshot
FROM unnest($1::bigint[], $2::bigint[]) AS wanted (room_nid, position)
JOIN LATERAL (
    SELECT l.snapshot FROM room_state_log AS l
    WHERE l.room_nid = wanted.room_nid AND l.position <= wanted.position
    ORDER BY l.position DESC LIMIT 1
) AS log ON true
"""


async def load_snapshots_at(tx: Connection, moments: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """The snapshot of the room's resolved state at each (room nid, position); absent before the room began."""
    if not moments:
        return {}
    rooms, positions = zip(*moments, strict=True)
    rows = await tx.fetch(LOAD_SNAPSHOTS_AT, list(rooms), list(positions))
    return {(row["room_nid"], row["position"]): row["snapshot"] for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipRow:
    """A user's membership of a room, with the member event that says so."""

    user_id: UserId
    room_nid: int
    membership: str
    event_nid: int
    position: int
