"""Sync: `sync.yaml`."""

from typing import Literal

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.sync.request import STATE_AFTER, UNSTABLE_STATE_AFTER, SyncRequest
from tim_server.services.sync.tokens import parse_sync_token
from tim_server.web.context import current_request
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class SyncQuery(RequestModel):
    """Since when, with which filter, and how long to wait."""

    since: InQuery[str | None] = None
    filter: InQuery[str | None] = None
    full_state: InQuery[bool] = False
    set_presence: InQuery[Literal["offline", "online", "unavailable"]] = "online"
    timeout: InQuery[int] = 0
    use_state_after: InQuery[bool] = False
    use_unstable_state_after: InQuery[bool] = Field(default=False, alias="org.matrix.msc4222.use_state_after")

    @property
    def state_after(self) -> tuple[str, ...]:
        """The keys under which the client expects the state at the end of the timeline, if it does."""
        stable = (STATE_AFTER,) if self.use_state_after else ()
        return (*stable, UNSTABLE_STATE_AFTER) if self.use_unstable_state_after else stable


async def sync(server: Homeserver, requester: Requester, request: SyncQuery) -> RawJson:
    """`GET /_matrix/client/v3/sync`: what has changed since a token; waits up to `timeout` where nothing has.

    No event is skipped and none repeated from one token to the next; a token of before a restore answers everything
    that came after it.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
    """
    asked = SyncRequest(
        since=None if request.since is None else parse_sync_token(request.since),
        filter=request.filter,
        full_state=request.full_state,
        timeout_ms=request.timeout,
        state_after=request.state_after,
        set_presence=request.set_presence,
        stopping=current_request().shutting_down,
    )
    return RawJson(await server.sync.sync(requester, asked))


ROUTES = (Route("GET", "/_matrix/client/v3/sync", sync, auth=Auth.GUEST_OK),)
