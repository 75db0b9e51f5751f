"""SRV records of servers: which there are, remembered for a while, and in which order their targets are tried.

Spec: https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names and RFC 2782
"""

import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tim_server.federation.in_flight import InFlight
from tim_server.federation.remembered_for import RememberedFor
from tim_server.matrix.identifiers import ServerName

SERVICES = ("_matrix-fed._tcp", "_matrix._tcp")
"""The second is deprecated."""
LIFETIME_S = 300.0
FAILURE_S = 30.0
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SrvRecord:
    """One SRV record of a name."""

    priority: int
    weight: int
    port: int
    target: str


LookUpSrv = Callable[[str], Awaitable[Sequence[SrvRecord]]]
"""The SRV records of a name, none where there are none; raises OSError where that can't be found out."""


class SrvRecords:
    """The records of all servers."""

    def __init__(self, *, look_up: LookUpSrv, now_s: Callable[[], float]) -> None:
        self._look_up = look_up
        self._known: RememberedFor[tuple[SrvRecord, ...]] = RememberedFor(now_s=now_s)
        self._look_ups: InFlight[str, SrvRecord | None] = InFlight(name="look-up-srv")

    async def best(self, name: ServerName) -> SrvRecord | None:
        """Where the server is tried next; None where no record says."""
        known = self._known.get(name)
        if known is not None:
            return next(iter(known.value), None)
        return await self._look_ups.share(name.lower(), partial(self._find, name))

    def doubt(self, name: ServerName, record: SrvRecord) -> None:
        """The server could not be reached there: go on to its next record; after the last, look them up again."""
        known = self._known.get(name)
        if known is None or known.value[:1] != (record,):
            return  # somebody else has found out before
        if len(known.value) > 1:
            self._known.replace(name, known.value[1:])
        else:
            self._known.shorten(name, 0.0)

    async def _find(self, name: ServerName) -> SrvRecord | None:
        records: tuple[SrvRecord, ...] = ()
        lifetime_s = LIFETIME_S
        for service in SERVICES:
            try:
                found = await self._look_up(f"{service}.{name}")
            except OSError:
                last = self._known.last(name)
                records, lifetime_s = () if last is None else last.value, FAILURE_S
                break
            if found:
                records = in_order(found)
                break
        self._known.put(name, records, lifetime_s)
        return next(iter(records), None)


def in_order(records: Sequence[SrvRecord]) -> tuple[SrvRecord, ...]:
    """The records in the order in which they are to be tried: by priority, and within one at random, those with more
    weight more often first. What is no host and port is left out, also the `.` that says that nothing is offered.
    """
    usable = [record for record in records if record.port and _HOST_NAME.fullmatch(record.target)]
    return tuple(sorted(usable, key=lambda record: (record.priority, random.expovariate(record.weight or 0.1))))
