"""The trust gate as administrators see it: how it stands, why a server may or may not talk to this one, what was
decided."""

from datetime import datetime

from pydantic import Field

from tim_server.matrix.errors import InvalidParam
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.trust.review import LIMIT_MAX, DirectoryStatus, Member, TrustStatus
from tim_server.storage.trust_decisions import Decision, DecisionFilter
from tim_server.web.fields import ServerName
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route

NUMBER_MAX = 2**63 - 1


class GetTrustStatusRequest(RequestModel):
    """Nothing to say."""


class DirectoryBody(ResponseModel):
    """The directory in force and its source. `state` is fresh, failing, stale, expired or missing, and `alarm` what
    somebody should know of it; times ending in `_ts` are milliseconds."""

    version: int | None
    issued: str | None
    expires: str | None
    signer_sha256: str | None
    organisations: int
    servers: int
    fetched_ts: int | None
    checked_ts: int | None
    attempted_ts: int | None
    state: str
    alarm: str | None


class TrustStatusBody(ResponseModel):
    """The profile, and the directory where the profile looks at one."""

    profile: str
    directory: DirectoryBody | None


async def get_trust_status(server: Homeserver, admin: Requester, request: GetTrustStatusRequest) -> TrustStatusBody:
    """`GET /_tim-server/admin/v1/trust`: the profile, the directory in force, and how old it is."""
    return _status_body(server.trust_review.status())


class RefreshTrustRequest(RequestModel):
    """Nothing to say."""


async def refresh_trust(server: Homeserver, admin: Requester, request: RefreshTrustRequest) -> TrustStatusBody:
    """`POST /_tim-server/admin/v1/trust/refresh`: fetch directory and revocation lists now; 503 where that fails."""
    return _status_body(await server.trust_review.refresh())


class ListTrustedServersRequest(RequestModel):
    """Which page; `from` is `next_batch` of the page before."""

    start: InQuery[str] = Field(default="", alias="from", max_length=300)
    limit: InQuery[int] = Field(default=100, ge=1)


class CertificateBody(ResponseModel):
    """A certificate with which a server has proved to be who it is; times in milliseconds. It must be verified again
    after `holds_until_ts`."""

    sha256: str
    serial: str
    not_after_ts: int
    holds_until_ts: int
    verified_ts: int


class TrustedServerBody(ResponseModel):
    """A server that the directory lists. `certificate` null: it has not proved itself to this server yet."""

    server_name: str
    organisation_id: str
    organisation_name: str
    kind: str
    certificate: CertificateBody | None


class ListTrustedServersResponse(ResponseModel):
    """Servers by name, and the directory's version; without `next_batch` there are no more."""

    version: int | None
    servers: list[TrustedServerBody]
    next_batch: str | UnsetType = UNSET


async def list_trusted_servers(
    server: Homeserver, admin: Requester, request: ListTrustedServersRequest
) -> ListTrustedServersResponse:
    """`GET /_tim-server/admin/v1/trust/servers`: whom the directory lists, and what they proved themselves with."""
    limit = min(request.limit, LIMIT_MAX)
    members = await server.trust_review.members(after=request.start.lower(), limit=limit)
    copy = server.trust_review.knowledge.copy
    return ListTrustedServersResponse(
        version=None if copy is None else copy.directory.version,
        servers=[_server_body(member) for member in members],
        next_batch=members[-1].server_name if len(members) == limit else UNSET,
    )


def _server_body(member: Member) -> TrustedServerBody:
    organisation, stored = member.organisation, member.certificate
    certificate = None
    if stored is not None:
        certificate = CertificateBody(
            sha256=stored.sha256,
            serial=stored.serial,
            not_after_ts=stored.not_after_ts,
            holds_until_ts=stored.holds_until_ts,
            verified_ts=stored.verified_ts,
        )
    return TrustedServerBody(
        server_name=member.server_name,
        organisation_id=organisation.id,
        organisation_name=organisation.name,
        kind=organisation.kind,
        certificate=certificate,
    )


class ExplainTrustRequest(RequestModel):
    """Which server."""

    server_name: InPath[ServerName]


class StepBody(ResponseModel):
    """One step of a decision; `is_fine` null: it speaks neither for nor against the contact."""

    looked_at: str
    found: str
    is_fine: bool | None


class ExplanationBody(ResponseModel):
    """The decision about a server, and the steps that lead to it."""

    server_name: str
    is_allowed: bool
    reason: str
    steps: list[StepBody]


async def explain_trust(server: Homeserver, admin: Requester, request: ExplainTrustRequest) -> ExplanationBody:
    """`GET /_tim-server/admin/v1/trust/servers/{serverName}`: why the server may or may not talk to this one."""
    explained = await server.trust_review.explain(request.server_name)
    return ExplanationBody(
        server_name=explained.server_name,
        is_allowed=explained.verdict.is_allowed,
        reason=explained.verdict.reason,
        steps=[StepBody(looked_at=s.looked_at, found=s.found, is_fine=s.is_fine) for s in explained.steps],
    )


class ListTrustDecisionsRequest(RequestModel):
    """Which decisions; `from` is `next_batch` of the page before."""

    server_name: InQuery[ServerName | None] = None
    point: InQuery[str | None] = None
    is_allowed: InQuery[bool | None] = None
    start: InQuery[str | None] = Field(default=None, alias="from")
    limit: InQuery[int] = Field(default=100, ge=1)


class DecisionBody(ResponseModel):
    """Decisions of one kind, taken `times` times between `first_ts` and `last_ts` (milliseconds)."""

    point: str
    server_name: str
    is_allowed: bool
    reason: str
    first_ts: int
    last_ts: int
    times: int


class ListTrustDecisionsResponse(ResponseModel):
    """Decisions, those taken last first; without `next_batch` there are no more behind them."""

    decisions: list[DecisionBody]
    next_batch: str | UnsetType = UNSET


async def list_trust_decisions(
    server: Homeserver, admin: Requester, request: ListTrustDecisionsRequest
) -> ListTrustDecisionsResponse:
    """`GET /_tim-server/admin/v1/trust/decisions`: refusals, and changes of who may talk to this server.

    `point` is where the gate was asked: client request, event creation, incoming federation, outgoing connection,
    invite or join; or directory, for servers that a new directory lists or lists no more.
    """
    wanted = DecisionFilter(
        server_name=request.server_name,
        point=request.point,
        is_allowed=request.is_allowed,
        before=None if request.start is None else _read_place(request.start),
    )
    page = await server.trust_review.decisions(wanted, limit=request.limit)
    last = page.decisions[-1] if page.has_more else None
    return ListTrustDecisionsResponse(
        decisions=[_decision_body(decision) for _, decision in page.decisions],
        next_batch=UNSET if last is None else f"{last[1].last_ts}_{last[0]}",
    )


def _read_place(text: str) -> tuple[int, int]:
    """The time and the row's number in `next_batch`."""
    first, _, second = text.partition("_")
    if all(part.isascii() and part.isdigit() and len(part) < 20 for part in (first, second)):
        place = int(first), int(second)
        if max(place) <= NUMBER_MAX:
            return place
    raise InvalidParam("from is not a next_batch of this endpoint")


def _decision_body(decision: Decision) -> DecisionBody:
    return DecisionBody(
        point=decision.point,
        server_name=decision.server_name,
        is_allowed=decision.is_allowed,
        reason=decision.reason,
        first_ts=decision.first_ts,
        last_ts=decision.last_ts,
        times=decision.times,
    )


def _status_body(status: TrustStatus) -> TrustStatusBody:
    directory = None if status.directory is None else _directory_body(status.directory)
    return TrustStatusBody(profile=str(status.profile), directory=directory)


def _directory_body(directory: DirectoryStatus) -> DirectoryBody:
    return DirectoryBody(
        version=directory.version,
        issued=_time(directory.issued),
        expires=_time(directory.expires),
        signer_sha256=directory.signer_sha256,
        organisations=directory.organisation_count,
        servers=directory.server_count,
        fetched_ts=directory.fetched_ts,
        checked_ts=directory.source.checked_ts,
        attempted_ts=directory.source.attempted_ts or None,
        state=str(directory.health.state),
        alarm=directory.health.alarm,
    )


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


_PATH = "/_tim-server/admin/v1/trust"

ROUTES = (
    Route("GET", _PATH, get_trust_status, auth=Auth.ADMIN),
    Route("POST", _PATH + "/refresh", refresh_trust, auth=Auth.ADMIN),
    Route("GET", _PATH + "/decisions", list_trust_decisions, auth=Auth.ADMIN),
    Route("GET", _PATH + "/servers", list_trusted_servers, auth=Auth.ADMIN),
    Route("GET", _PATH + "/servers/{serverName}", explain_trust, auth=Auth.ADMIN),
)
