"""Read reports and decide on them, for administrators; each look and each decision is audited.

Spec: https://spec.matrix.org/v1.19/client-server-api/#reporting-content
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import NotFound, TooLarge
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.directory.room_summary import RoomSummary, load_summaries
from tim_server.services.events.client_format import client_event, event_head
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import load_events_by_id
from tim_server.storage.reports import (
    Decision,
    Report,
    ReportFilter,
    ReportKind,
    ReportRange,
    ReportStatus,
    count_reports,
    decide_report,
    delete_report,
    find_report,
    list_reports,
)
from tim_server.storage.room_summaries import find_rooms_for_user
from tim_server.storage.writer import Writer

NOTE_BYTES_MAX = 10_000
"""A note is a few sentences for people to read."""

LIMIT_MAX = 500
"""How many reports one page holds at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownReport:
    """A report with what its room is called. `event`: the reported event as a client event, where one was asked for and
    is still there; in its redacted form where it is redacted."""

    report: Report
    room_name: str | None
    room_alias: str | None
    event: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsPage:
    """A page of reports, whether there are more behind it, and how many the filter lets pass."""

    reports: Sequence[ShownReport]
    has_more: bool
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReview:
    """What administrators do with reports; callers have checked that the requester is one."""

    database: Database
    writer: Writer
    codec: Codec
    now_ms: Callable[[], int]

    async def page(self, admin: Requester, wanted: ReportFilter, within: ReportRange) -> ReportsPage:
        """A page of reports, of at most `LIMIT_MAX`."""
        limit = min(within.limit, LIMIT_MAX)
        one_more = ReportRange(limit=limit + 1, offset=within.offset, newest_first=within.newest_first)
        async with self.database.read() as tx:
            found = await list_reports(tx, self.codec, wanted, one_more)
            shown = await self._with_rooms(tx, admin, found[:limit])
            total = await count_reports(tx, wanted)
        await self.writer.write(_Audit(entry=_entry(admin, "report.list", "reports")))
        return ReportsPage(reports=shown, has_more=len(found) > limit, total=total)

    async def read(self, admin: Requester, nid: int, kind: ReportKind | None = None) -> ShownReport:
        """One report with its event; raises `NotFound`."""
        async with self.database.read() as tx:
            report = await find_report(tx, self.codec, nid)
            if report is None or kind not in (None, report.kind):
                raise NotFound("There is no such report")
            (shown,) = await self._with_rooms(tx, admin, [report])
            event = await self._event(tx, report)
        await self.writer.write(_Audit(entry=_entry(admin, "report.read", str(nid))))
        return ShownReport(report=report, room_name=shown.room_name, room_alias=shown.room_alias, event=event)

    async def decide(self, admin: Requester, nid: int, status: ReportStatus, note: str | None) -> None:
        """Resolve a report, or open it again; the newest decision counts. Raises `NotFound`, `TooLarge`."""
        if note is not None and len(note.encode()) > NOTE_BYTES_MAX:
            raise TooLarge(f"A note must have at most {NOTE_BYTES_MAX} bytes")
        decision = Decision(status=status, note=note, decided_by=admin.user_id, decided_ts=self.now_ms())
        action = "report.resolve" if status == "resolved" else "report.open"
        await self.writer.write(
            _Decide(codec=self.codec, nid=nid, decision=decision, audit=_entry(admin, action, str(nid)))
        )

    async def delete(self, admin: Requester, nid: int, kind: ReportKind | None = None) -> None:
        """Remove a report; raises `NotFound`."""
        await self.writer.write(_Delete(nid=nid, kind=kind, audit=_entry(admin, "report.delete", str(nid))))

    async def _with_rooms(self, tx: Connection, admin: Requester, reports: Sequence[Report]) -> list[ShownReport]:
        room_ids = {report.room_id for report in reports if report.room_id is not None}
        known = await find_rooms_for_user(tx, room_ids, admin.user_id)
        versions = {room.nid: (room.room_id, room_version(room.room_version)) for room in known.values()}
        summaries = {summary.room_id: summary for summary in (await load_summaries(tx, self.codec, versions)).values()}
        return [_shown(report, summaries.get(report.room_id) if report.room_id else None) for report in reports]

    async def _event(self, tx: Connection, report: Report) -> bytes | None:
        if report.event_id is None or report.room_id is None:
            return None
        row = (await load_events_by_id(tx, self.codec, [report.event_id])).get(report.event_id)
        room = (await find_rooms_for_user(tx, [report.room_id], report.reporter)).get(report.room_id)
        if row is None or room is None or row.room_nid != room.nid:
            return None
        head = event_head(row, room_version(room.room_version))
        return client_event(head, room_id=report.room_id, unsigned=b"{}")


def _shown(report: Report, room: RoomSummary | None) -> ShownReport:
    if room is None:
        return ShownReport(report=report, room_name=None, room_alias=None)
    return ShownReport(report=report, room_name=room.name, room_alias=room.canonical_alias)


def _entry(admin: Requester, action: str, of: str) -> AuditEntry:
    return AuditEntry(actor=admin.user_id, action=action, object=of)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Audit:
    entry: AuditEntry
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await append_audit(tx, self.entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decide:
    codec: Codec
    nid: int
    decision: Decision
    audit: AuditEntry
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        if not await decide_report(tx, self.codec, self.nid, self.decision):
            raise NotFound("There is no such report")
        await append_audit(tx, self.audit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delete:
    nid: int
    kind: ReportKind | None
    audit: AuditEntry
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        if not await delete_report(tx, self.nid, self.kind):
            raise NotFound("There is no such report")
        await append_audit(tx, self.audit)
