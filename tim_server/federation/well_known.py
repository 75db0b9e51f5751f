"""Whom servers delegate to, by `.well-known/matrix/server`: fetched over TLS, and remembered for as long as the file
says, within bounds. A file that can't be had for a while goes on to count; that there is none counts for less.

Spec: https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver
"""

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from time import time
from typing import NamedTuple

from tim_server.egress.client import OutgoingClient, OutgoingRequest, OutgoingResponse
from tim_server.egress.errors import GateRefused, OutgoingError
from tim_server.federation.in_flight import InFlight
from tim_server.federation.remembered_for import RememberedFor
from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName

PATH = "/.well-known/matrix/server"
BYTES_MAX = 51_200
TIMEOUT_S = 10.0
REDIRECTS_MAX = 5
LIFETIME_S_DEFAULT, LIFETIME_S_MIN, LIFETIME_S_MAX = 24 * 3600.0, 300.0, 48 * 3600.0
FAILURE_S_MIN, FAILURE_S_MAX = 60.0, 3600.0
"""For how long a failure is remembered: the first in a row, and after many. "Errors are recommended to be cached for up
to an hour, and servers are encouraged to exponentially back off for repeated failures.\""""
GRACE_S = 48 * 3600.0
"""For how long after it was read a file counts that can't be had any more."""
NO_FILE = frozenset({404, 410})


class _Known(NamedTuple):
    """The server that is delegated to, and when that was read; how often in a row no file could be had since, and
    whether there was not even an answer."""

    delegated: ServerName | None
    read_s: float
    failures: int = 0
    is_silent: bool = False


class WellKnownFiles:
    """The files of all servers."""

    def __init__(self, *, outgoing: OutgoingClient, now_s: Callable[[], float]) -> None:
        self._outgoing = outgoing
        self._now_s = now_s
        self._known: RememberedFor[_Known] = RememberedFor(now_s=now_s)
        self._fetches: InFlight[str, ServerName | None] = InFlight(name="fetch-well-known")

    async def delegated(self, server_name: ServerName) -> ServerName | None:
        """Whom the server delegates to; None where it does not, or says so in a way that counts for nothing. Raises
        `GateRefused` where the trust gate refuses the server."""
        known = self._known.get(server_name)
        if known is not None:
            return known.value.delegated
        fetch = partial(self._fetch, server_name)
        last = self._known.last(server_name)
        if last is not None and last.value.is_silent and self._now_s() < last.until_s + FAILURE_S_MAX:
            # A web server that does not answer is looked at again without anybody waiting for it each time.
            self._fetches.begin(server_name.lower(), partial(self._fetch_again, server_name))
            return last.value.delegated
        return await self._fetches.share(server_name.lower(), fetch)

    def doubt(self, server_name: ServerName) -> None:
        """The server is not where its file says: look at it again, if it was not read just now."""
        self._known.shorten(server_name, LIFETIME_S_MIN)

    async def _fetch_again(self, server_name: ServerName) -> ServerName | None:
        try:
            return await self._fetch(server_name)
        except GateRefused:
            return None

    async def _fetch(self, server_name: ServerName) -> ServerName | None:
        response = await self._ask(server_name)
        delegated = None if response is None else delegated_to(response)
        if response is not None and delegated is not None:
            lifetime_s = lifetime_of(response.headers, now_ts=time())
            self._known.put(server_name, _Known(delegated, self._now_s()), lifetime_s)
            return delegated
        last = self._known.last(server_name)
        before = _Known(None, self._now_s()) if last is None else last.value
        failures, lifetime_s = before.failures + 1, FAILURE_S_MAX
        if response is None or response.status not in NO_FILE:
            lifetime_s = min(FAILURE_S_MIN * 2 ** min(before.failures, 10), FAILURE_S_MAX)
            delegated = before.delegated if self._now_s() < before.read_s + GRACE_S else None
        self._known.put(server_name, _Known(delegated, before.read_s, failures, response is None), lifetime_s)
        return delegated

    async def _ask(self, server_name: ServerName) -> OutgoingResponse | None:
        request = OutgoingRequest(
            method="GET",
            url=f"https://{server_name}{PATH}",
            server_name=server_name,
            timeout_seconds=TIMEOUT_S,
            response_size_bytes_max=BYTES_MAX,
            redirects_max=REDIRECTS_MAX,
        )
        try:
            return await self._outgoing.send(request)
        except GateRefused:
            await self._outgoing.admit(server_name)  # else it was redirected to whom the gate refuses
        except OutgoingError:
            pass
        return None


def delegated_to(response: OutgoingResponse) -> ServerName | None:
    """The server that a well-known file names; None for what is no such file."""
    if response.status != 200:
        return None
    try:
        value = decode_lenient(response.body)
        return ServerName.parse(value["m.server"])
    except (CanonicalJsonError, InvalidIdentifier, KeyError, TypeError):
        return None


def lifetime_of(headers: Mapping[str, str], *, now_ts: float) -> float:
    """For how many seconds a well-known file counts: as its headers say, within bounds.

    "Servers should respect the cache control headers present on the response, or use a sensible default", "a maximum
    cache time for responses: 48 hours is recommended".
    """
    wanted = LIFETIME_S_DEFAULT
    directives = [part.strip().lower() for part in headers.get("Cache-Control", "").split(",")]
    ages = [part.partition("=")[2].strip('"') for part in directives if part.startswith("max-age=")]
    if any(part in ("no-store", "no-cache") for part in directives):
        wanted = 0.0
    elif ages and ages[0].isdecimal():
        wanted = float(ages[0][:9])
    elif "Expires" in headers:
        wanted = _seconds_until(headers["Expires"], now_ts)
    return min(max(wanted, LIFETIME_S_MIN), LIFETIME_S_MAX)


def _seconds_until(date: str, now_ts: float) -> float:
    """0 for what is no date, which means a time in the past."""
    try:
        return parsedate_to_datetime(date).timestamp() - now_ts
    except (TypeError, ValueError, OverflowError):
        return 0.0
