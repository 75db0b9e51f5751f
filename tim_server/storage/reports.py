"""What users have reported, and what administrators decided. Not derived from the event log.

Spec: https://spec.matrix.org/v1.19/client-server-api/#reporting-content
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="reports",
        owner="services.reports",
        bound="limits.open_reports_per_user_max open ones a user; resolved ones as administrators keep them",
        reaper="administrators",
    ),
)

ReportKind: TypeAlias = Literal["event", "room", "user"]
ReportStatus: TypeAlias = Literal["open", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReport:
    """Something that a user reports: an event of a room, with its sender, a room, or a user."""

    kind: ReportKind
    reporter: UserId
    received_ts: int
    room_id: RoomId | None = None
    event_id: EventId | None = None
    user_id: UserId | None = None
    score: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report, and the newest decision on it."""

    nid: int
    kind: ReportKind
    reporter: UserId
    room_id: RoomId | None
    event_id: EventId | None
    user_id: UserId | None
    score: int | None
    reason: str | None
    received_ts: int
    status: ReportStatus
    decided_by: UserId | None
    decided_ts: int | None
    note: str | None


INSERT_REPORT = """
INSERT INTO reports (kind, reporter, room_id, event_id, user_id, score, reason, received_ts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""


async def insert_report(tx: Connection, codec: Codec, report: NewReport) -> None:
    """Add a report, open."""
    await tx.execute(
        INSERT_REPORT,
        report.kind,
        report.reporter,
        report.room_id,
        report.event_id,
        report.user_id,
        report.score,
        _encoded(codec, report.reason),
        report.received_ts,
    )


COUNT_OPEN_REPORTS = "SELECT count(*) FROM reports WHERE reporter = $1 AND status = 'open'"


async def count_open_reports(tx: Connection, reporter: UserId) -> int:
    """How many reports of the user wait for a decision."""
    count: int = await tx.fetchval(COUNT_OPEN_REPORTS, reporter)
    return count


KNOWS_ROOM = "SELECT EXISTS (SELECT FROM rooms WHERE room_id = $1)"


async def knows_room(tx: Connection, room_id: RoomId) -> bool:
    """Whether this server knows the room."""
    known: bool = await tx.fetchval(KNOWS_ROOM, room_id)
    return known


KNOWS_USER = """
SELECT EXISTS (SELECT FROM users WHERE user_id = $1) OR EXISTS (SELECT FROM memberships WHERE user_id = $1)
"""


async def knows_user(tx: Connection, user_id: UserId) -> bool:
    """Whether there is such an account, or a room of this server has heard of such a user."""
    known: bool = await tx.fetchval(KNOWS_USER, user_id)
    return known


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFilter:
    """Which reports; None: whatever it is. `before` is the nid of a report that is newer."""

    kind: ReportKind | None = None
    status: ReportStatus | None = None
    reporter: str | None = None
    room_id: str | None = None
    user_id: str | None = None
    before: int | None = None

    @property
    def parameters(self) -> tuple[str | None, ...]:
        """All but the place of the page, in the order of the statements."""
        return (self.kind, self.status, self.reporter, self.room_id, self.user_id)


REPORTS_NEWEST_FIRST = """
SELECT nid, kind, reporter, room_id, event_id, user_id, score, reason, received_ts, status, decided_by, decided_ts, note
FROM reports
WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR reporter = $3)
  AND ($4::text IS NULL OR room_id = $4) AND ($5::text IS NULL OR user_id = $5) AND ($6::bigint IS NULL OR nid < $6)
ORDER BY nid DESC OFFSET $7 LIMIT $8
"""
REPORTS_OLDEST_FIRST = """
SELECT nid, kind, reporter, room_id, event_id, user_id, score, reason, received_ts, status, decided_by, decided_ts, note
FROM reports
WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR reporter = $3)
  AND ($4::text IS NULL OR room_id = $4) AND ($5::text IS NULL OR user_id = $5) AND ($6::bigint IS NULL OR nid < $6)
ORDER BY nid OFFSET $7 LIMIT $8
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRange:
    """Which page of the reports that a filter lets pass."""

    limit: int
    offset: int = 0
    newest_first: bool = True


async def list_reports(tx: Connection, codec: Codec, wanted: ReportFilter, within: ReportRange) -> list[Report]:
    """A page of reports in the order in which they came, or the other way round."""
    sql = REPORTS_NEWEST_FIRST if within.newest_first else REPORTS_OLDEST_FIRST
    rows = await tx.fetch(sql, *wanted.parameters, wanted.before, within.offset, within.limit)
    return [_report(row, codec) for row in rows]


COUNT_REPORTS = """
SELECT count(*) FROM reports
WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR reporter = $3)
  AND ($4::text IS NULL OR room_id = $4) AND ($5::text IS NULL OR user_id = $5)
"""


async def count_reports(tx: Connection, wanted: ReportFilter) -> int:
    """How many reports the filter lets pass, wherever the page begins."""
    count: int = await tx.fetchval(COUNT_REPORTS, *wanted.parameters)
    return count


FIND_REPORT = """
SELECT nid, kind, reporter, room_id, event_id, user_id, score, reason, received_ts, status, decided_by, decided_ts, note
FROM reports WHERE nid = $1
"""


async def find_report(tx: Connection, codec: Codec, nid: int) -> Report | None:
    """The report of this number."""
    row = await tx.fetchrow(FIND_REPORT, nid)
    return None if row is None else _report(row, codec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What an administrator decides on a report, with a note for those who read it later."""

    status: ReportStatus
    note: str | None
    decided_by: UserId
    decided_ts: int


DECIDE_REPORT = """
UPDATE reports SET status = $2, note = $3, decided_by = $4, decided_ts = $5 WHERE nid = $1 RETURNING true
"""


async def decide_report(tx: Connection, codec: Codec, nid: int, decision: Decision) -> bool:
    """Store the decision in place of the one before; False where there is no such report."""
    note = _encoded(codec, decision.note)
    decided = (decision.status, note, decision.decided_by, decision.decided_ts)
    return bool(await tx.fetchval(DECIDE_REPORT, nid, *decided))


DELETE_REPORT = "DELETE FROM reports WHERE nid = $1 AND ($2::text IS NULL OR kind = $2) RETURNING true"


async def delete_report(tx: Connection, nid: int, kind: ReportKind | None = None) -> bool:
    """Remove a report, where `kind` is given only one of that kind; False where there is none."""
    return bool(await tx.fetchval(DELETE_REPORT, nid, kind))


def _encoded(codec: Codec, text: str | None) -> bytes | None:
    return None if text is None else codec.encode(text.encode())


def _report(row: Any, codec: Codec) -> Report:
    fields = dict(row.items())
    for name, identifier in (("room_id", RoomId), ("event_id", EventId), ("user_id", UserId), ("decided_by", UserId)):
        fields[name] = None if fields[name] is None else identifier(fields[name])
    for name in ("reason", "note"):
        fields[name] = None if fields[name] is None else codec.decode(fields[name]).decode()
    return Report(**{**fields, "reporter": UserId(fields["reporter"])})
