"""Other servers as this one sends to them: what administrators see when federation fails somewhere."""

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.storage.destinations import DestinationStatus
from tim_server.web.fields import ServerName
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, EmptyResponse, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class ListDestinationsRequest(RequestModel):
    """Which servers; `from` is `next_batch` of the page before."""

    failing: InQuery[bool] = False
    start: InQuery[str] = Field(default="", alias="from")
    limit: InQuery[int] = Field(default=100, ge=1)


class DestinationBody(ResponseModel):
    """A server. Times are in milliseconds. `waiting_events` is counted up to 10,000. While sending works,
    `failing_since_ts`, `retry_ts` and `problem` are null."""

    destination: str
    succeeded_ts: int | None
    failing_since_ts: int | None
    failures: int
    retry_ts: int | None
    problem: str | None
    waiting_events: int


class ListDestinationsResponse(ResponseModel):
    """Servers in the order of their names; without `next_batch` there are no more behind them."""

    destinations: list[DestinationBody]
    next_batch: str | UnsetType = UNSET


async def list_destinations(
    server: Homeserver, admin: Requester, request: ListDestinationsRequest
) -> ListDestinationsResponse:
    """`GET /_tim-server/admin/v1/federation/destinations`: the servers that anything was sent to, with `failing` those
    only to which sending fails."""
    page, has_more = await server.destination_review.page(
        after=request.start, failing_only=request.failing, limit=request.limit
    )
    return ListDestinationsResponse(
        destinations=[_body(status) for status in page], next_batch=page[-1].row.destination if has_more else UNSET
    )


class GetDestinationRequest(RequestModel):
    """Which server."""

    destination: InPath[ServerName]


async def get_destination(server: Homeserver, admin: Requester, request: GetDestinationRequest) -> DestinationBody:
    """`GET /_tim-server/admin/v1/federation/destinations/{destination}`: one server."""
    return _body(await server.destination_review.read(request.destination))


class RetryDestinationRequest(RequestModel):
    """Which server."""

    destination: InPath[ServerName]


async def retry_destination(server: Homeserver, admin: Requester, request: RetryDestinationRequest) -> EmptyResponse:
    """`POST /_tim-server/admin/v1/federation/destinations/{destination}/retry`: try a server now to which sending
    fails, whenever its next attempt is due. Written to the audit log."""
    await server.destination_review.retry(admin, request.destination)
    return EmptyResponse()


def _body(status: DestinationStatus) -> DestinationBody:
    row = status.row
    return DestinationBody(
        destination=row.destination,
        succeeded_ts=row.succeeded_ts,
        failing_since_ts=row.failing_since_ts,
        failures=row.failures,
        retry_ts=row.retry_ts,
        problem=row.problem,
        waiting_events=status.waiting,
    )


_PATH = "/_tim-server/admin/v1/federation/destinations"

ROUTES = (
    Route("GET", _PATH, list_destinations, auth=Auth.ADMIN),
    Route("GET", _PATH + "/{destination}", get_destination, auth=Auth.ADMIN),
    Route("POST", _PATH + "/{destination}/retry", retry_destination, auth=Auth.ADMIN),
)
