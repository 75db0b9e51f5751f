"""What is written down about each request: one log line and one sample, by route template, without content."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from tim_server.matrix.identifiers import ServerName
from tim_server.observability.metrics import RequestMetrics
from tim_server.services.accounts.requester import Requester
from tim_server.web.body_memory import BodyShare
from tim_server.web.context import RequestContext
from tim_server.web.route import Route
from tim_server.web.router import Router

UNKNOWN_ROUTE = "(unknown)"
CLIENT_GONE_STATUS = 499

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class Exchange:
    """One request while it is answered; the pipeline fills in what it finds out."""

    __slots__ = ("context", "method", "origin", "requester", "route", "router", "share", "started", "status")

    def __init__(self, method: str, context: RequestContext) -> None:
        self.started = perf_counter()
        self.method = method if method in _METHODS else "OTHER"
        self.context = context
        self.share: BodyShare | None = None
        self.router: Router | None = None
        self.route: Route | None = None
        self.requester: Requester | None = None
        self.origin: ServerName | None = None
        self.status = CLIENT_GONE_STATUS

    @property
    def route_name(self) -> str:
        """The route's path template: never the path itself, which names rooms and users."""
        return UNKNOWN_ROUTE if self.route is None else self.route.path


class Observer:
    """Counts exchanges and writes their log lines. `log_access` None writes none."""

    __slots__ = ("_log_access", "metrics")

    def __init__(self, metrics: RequestMetrics, log_access: Callable[[dict[str, Any]], None] | None) -> None:
        self.metrics = metrics
        self._log_access = log_access

    def close(self, exchange: Exchange) -> None:
        """Write down a finished exchange."""
        seconds = perf_counter() - exchange.started
        route = exchange.route_name
        self.metrics.in_flight -= 1
        self.metrics.observe(route, exchange.method, exchange.status, seconds)
        if self._log_access is None:
            return
        requester = exchange.requester
        asking = {} if exchange.origin is None else {"server": exchange.origin}
        self._log_access(
            {
                "level": "info",
                "event": "request",
                "method": exchange.method,
                "route": route,
                "status": exchange.status,
                "duration_ms": round(seconds * 1000, 2),
                "user": None if requester is None else requester.user_id,
                **asking,
                "client_address": exchange.context.client_address,
                "request_id": exchange.context.request_id,
            }
        )
