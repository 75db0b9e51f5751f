"""Reports of events, in the form in which existing administration tools read them."""

from typing import Literal

from pydantic import Field

from tim_server.admin_api.reports import ID_MAX, report_number
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.reports.review import ShownReport
from tim_server.storage.reports import ReportFilter, ReportRange
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, EmptyResponse, RawJson, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class ListEventReportsRequest(RequestModel):
    """Which reports: `from` counts those that come before the page, `user_id` is the reporter."""

    start: InQuery[int] = Field(default=0, alias="from", ge=0, le=ID_MAX)
    limit: InQuery[int] = Field(default=100, ge=1)
    dir: InQuery[Literal["b", "f"]] = "b"
    user_id: InQuery[str | None] = None
    room_id: InQuery[str | None] = None
    event_sender_user_id: InQuery[str | None] = None


class EventReportBody(ResponseModel):
    """A report. `user_id` is the reporter, `sender` who sent the event, `name` what the room is called."""

    id: int
    received_ts: int
    room_id: str | None
    name: str | None
    canonical_alias: str | None
    event_id: str | None
    user_id: str
    reason: str | None
    score: int | None
    sender: str | None
    event_json: RawJson | UnsetType = UNSET


class ListEventReportsResponse(ResponseModel):
    """A page of reports; without `next_token` there are no more."""

    event_reports: list[EventReportBody]
    total: int
    next_token: int | UnsetType = UNSET


async def list_event_reports(
    server: Homeserver, admin: Requester, request: ListEventReportsRequest
) -> ListEventReportsResponse:
    """`GET /_synapse/admin/v1/event_reports`: reported events, newest first unless `dir` is `f`."""
    wanted = ReportFilter(
        kind="event",
        reporter=request.user_id or None,
        room_id=request.room_id or None,
        user_id=request.event_sender_user_id or None,
    )
    within = ReportRange(limit=request.limit, offset=request.start, newest_first=request.dir == "b")
    page = await server.report_review.page(admin, wanted, within)
    return ListEventReportsResponse(
        event_reports=[_body(shown) for shown in page.reports],
        total=page.total,
        next_token=request.start + len(page.reports) if page.has_more else UNSET,
    )


class GetEventReportRequest(RequestModel):
    """Which report."""

    report_id: InPath[str]


async def get_event_report(server: Homeserver, admin: Requester, request: GetEventReportRequest) -> EventReportBody:
    """`GET /_synapse/admin/v1/event_reports/{reportId}`: one report, with the event if it is still there."""
    return _body(await server.report_review.read(admin, report_number(request.report_id), "event"))


class DeleteEventReportRequest(RequestModel):
    """Which report."""

    report_id: InPath[str]


async def delete_event_report(server: Homeserver, admin: Requester, request: DeleteEventReportRequest) -> EmptyResponse:
    """`DELETE /_synapse/admin/v1/event_reports/{reportId}`: remove a report for good."""
    await server.report_review.delete(admin, report_number(request.report_id), "event")
    return EmptyResponse()


def _body(shown: ShownReport) -> EventReportBody:
    report = shown.report
    return EventReportBody(
        id=report.nid,
        received_ts=report.received_ts,
        room_id=report.room_id,
        name=shown.room_name,
        canonical_alias=shown.room_alias,
        event_id=report.event_id,
        user_id=report.reporter,
        reason=report.reason,
        score=report.score,
        sender=report.user_id,
        event_json=UNSET if shown.event is None else RawJson(shown.event),
    )


_PATH = "/_synapse/admin/v1/event_reports"

ROUTES = (
    Route("GET", _PATH, list_event_reports, auth=Auth.ADMIN),
    Route("GET", _PATH + "/{reportId}", get_event_report, auth=Auth.ADMIN),
    Route("DELETE", _PATH + "/{reportId}", delete_event_report, auth=Auth.ADMIN),
)
