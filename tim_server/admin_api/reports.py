"""Reports of events, rooms and users: what administrators read, decide on and remove."""

from typing import Literal

from pydantic import Field

from tim_server.matrix.errors import NotFound
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.reports.review import ShownReport
from tim_server.storage.reports import ReportFilter, ReportRange
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, EmptyResponse, RawJson, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route

ID_MAX = 2**63 - 1


def report_number(report_id: str) -> int:
    """The number of a report; raises `NotFound` for what can be none."""
    if report_id.isascii() and report_id.isdigit() and len(report_id) < 20 and int(report_id) <= ID_MAX:
        return int(report_id)
    raise NotFound("There is no such report")


class ListReportsRequest(RequestModel):
    """Which reports; `from` is `next_batch` of the page before."""

    status: InQuery[Literal["open", "resolved"] | None] = None
    kind: InQuery[Literal["event", "room", "user"] | None] = None
    start: InQuery[int | None] = Field(default=None, alias="from", ge=0, le=ID_MAX)
    limit: InQuery[int] = Field(default=50, ge=1)


class ReportBody(ResponseModel):
    """A report. `user_id` is who is reported, or who sent the reported event; times are in milliseconds."""

    report_id: int
    kind: str
    status: str
    reporter: str
    received_ts: int
    reason: str | None
    score: int | None
    room_id: str | None
    room_name: str | None
    room_alias: str | None
    event_id: str | None
    user_id: str | None
    decided_by: str | None
    decided_ts: int | None
    note: str | None
    event: RawJson | UnsetType = UNSET


class ListReportsResponse(ResponseModel):
    """Reports, newest first, and how many there are; without `next_batch` there are no more behind them."""

    reports: list[ReportBody]
    total: int
    next_batch: int | UnsetType = UNSET


async def list_reports(server: Homeserver, admin: Requester, request: ListReportsRequest) -> ListReportsResponse:
    """`GET /_tim-server/admin/v1/reports`: what users have reported, newest first.

    Each look is written to the audit log, as is each decision.
    """
    wanted = ReportFilter(kind=request.kind, status=request.status, before=request.start)
    page = await server.report_review.page(admin, wanted, ReportRange(limit=request.limit))
    return ListReportsResponse(
        reports=[_body(shown) for shown in page.reports],
        total=page.total,
        next_batch=page.reports[-1].report.nid if page.has_more else UNSET,
    )


class GetReportRequest(RequestModel):
    """Which report."""

    report_id: InPath[str]


async def get_report(server: Homeserver, admin: Requester, request: GetReportRequest) -> ReportBody:
    """`GET /_tim-server/admin/v1/reports/{reportId}`: one report, with the reported event if it is still there."""
    return _body(await server.report_review.read(admin, report_number(request.report_id)))


class DecideReportRequest(RequestModel):
    """What was decided, and a note for those who read it later."""

    report_id: InPath[str]
    status: Literal["open", "resolved"]
    note: str | None = None


async def decide_report(server: Homeserver, admin: Requester, request: DecideReportRequest) -> EmptyResponse:
    """`PUT /_tim-server/admin/v1/reports/{reportId}/decision`: resolve a report, or open it again."""
    await server.report_review.decide(admin, report_number(request.report_id), request.status, request.note)
    return EmptyResponse()


class DeleteReportRequest(RequestModel):
    """Which report."""

    report_id: InPath[str]


async def delete_report(server: Homeserver, admin: Requester, request: DeleteReportRequest) -> EmptyResponse:
    """`DELETE /_tim-server/admin/v1/reports/{reportId}`: remove a report for good."""
    await server.report_review.delete(admin, report_number(request.report_id))
    return EmptyResponse()


def _body(shown: ShownReport) -> ReportBody:
    report = shown.report
    return ReportBody(
        report_id=report.nid,
        kind=report.kind,
        status=report.status,
        reporter=report.reporter,
        received_ts=report.received_ts,
        reason=report.reason,
        score=report.score,
        room_id=report.room_id,
        room_name=shown.room_name,
        room_alias=shown.room_alias,
        event_id=report.event_id,
        user_id=report.user_id,
        decided_by=report.decided_by,
        decided_ts=report.decided_ts,
        note=report.note,
        event=UNSET if shown.event is None else RawJson(shown.event),
    )


_PATH = "/_tim-server/admin/v1/reports"

ROUTES = (
    Route("GET", _PATH, list_reports, auth=Auth.ADMIN),
    Route("GET", _PATH + "/{reportId}", get_report, auth=Auth.ADMIN),
    Route("PUT", _PATH + "/{reportId}/decision", decide_report, auth=Auth.ADMIN),
    Route("DELETE", _PATH + "/{reportId}", delete_report, auth=Auth.ADMIN),
)
