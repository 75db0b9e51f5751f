"""What an endpoint may want to know about the request beyond its model: where it came from, and whether to hurry.

Endpoints read it and hand on plain values; services know nothing of it.
"""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """One request, as the edge sees it."""

    request_id: str
    client_address: str
    """The client's IP address: the peer's, or what trusted proxies say it is. Empty on a unix socket."""
    is_proxied: bool = False
    """Whether a trusted proxy hands the request on."""
    scheme: str
    """`https` or `http`, as the client used it."""
    host: str
    """The Host header, lower case."""
    user_agent: str
    shutting_down: asyncio.Event
    """Set when the server stops: whoever waits (a long-polling sync) answers now."""


_current: ContextVar[RequestContext] = ContextVar("current_request")


def current_request() -> RequestContext:
    """The request being answered; raises LookupError outside of one."""
    return _current.get()


def enter_request(context: RequestContext) -> None:
    """Make `context` the current request of the running task."""
    _current.set(context)
