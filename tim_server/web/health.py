"""The listener for operators: `/health` (the process lives), `/ready` (it can serve), `/metrics`.

It stands on an address of its own, so that nothing of it is ever public by mistake.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import orjson
import structlog
from aiohttp.web import BaseRequest, Response, StreamResponse
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.registry import CollectorRegistry

from tim_server.observability.metrics import render_metrics

ReadyCheck = Callable[[], Awaitable[object]]

_log = structlog.get_logger("web")


@dataclass(slots=True, kw_only=True)
class HealthPages:
    """Answers the operators' listener. `checks` are named; one that raises, or takes too long, means not ready."""

    registry: CollectorRegistry
    checks: Mapping[str, ReadyCheck]
    shutting_down: asyncio.Event
    check_timeout_seconds: float = 5.0
    _failing: frozenset[str] = field(default=frozenset(), init=False)

    async def answer(self, request: BaseRequest) -> StreamResponse:
        """The page for `request`."""
        path = request.raw_path.partition("?")[0]
        if path not in ("/health", "/ready", "/metrics"):
            return _json(404, {"status": "not found"})
        if request.method not in ("GET", "HEAD"):
            return _json(405, {"status": "method not allowed"})
        if path == "/metrics":
            return Response(body=render_metrics(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
        return _json(200, {"status": "ok"}) if path == "/health" else await self._ready()

    async def _ready(self) -> Response:
        if self.shutting_down.is_set():
            return _json(503, {"status": "shutting down"})
        results = await asyncio.gather(*(self._is_passing(check) for check in self.checks.values()))
        states = dict(zip(self.checks, results, strict=True))
        failing = frozenset(name for name, is_passing in states.items() if not is_passing)
        if failing != self._failing:
            self._failing = failing
            _log.warning("readiness_changed", failing=sorted(failing))
        body = {"status": "not ready" if failing else "ok"}
        return _json(
            503 if failing else 200, body | {n: "ok" if passing else "failing" for n, passing in states.items()}
        )

    async def _is_passing(self, check: ReadyCheck) -> bool:
        try:
            async with asyncio.timeout(self.check_timeout_seconds):
                await check()
        except Exception:
            return False
        return True


def _json(status: int, body: dict[str, str]) -> Response:
    return Response(status=status, body=orjson.dumps(body), headers={"Content-Type": "application/json"})
