"""Taking in the short-lived data (EDUs) of other servers' transactions: each type by a function of its own.

Each EDU may be anything: what is not as it should be is dropped and counted. One type never fails another; only where
something that must not be lost could not be stored, the transaction is not answered, and comes again.

Spec: https://spec.matrix.org/v1.19/server-server-api/#edus
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from tim_server.matrix.canonical_json import is_deeper_than
from tim_server.matrix.errors import Unavailable
from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.edus import EDUS_MAX
from tim_server.services.turns import in_turns

EDUS_PER_TURN = 10
DEPTH_MAX = 200
"""How deep an EDU may be nested: clients get what some of them hold."""

Receive = Callable[[ServerName, Sequence[Mapping[str, Any]]], Awaitable[None]]
"""Takes in the contents of a transaction's EDUs of one type, in order; drops what the origin may not say."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EduReceiver:
    """Gives EDUs to those who take them in, `receivers` by `edu_type`; unknown types are ignored."""

    receivers: Mapping[str, Receive]
    counts: Counter[str] = field(default_factory=Counter)
    """EDUs taken in by type, `other` of unknown types, and `malformed`."""

    async def receive(self, origin: ServerName, edus: Sequence[Any]) -> None:
        """Take in the EDUs of one transaction, at most `EDUS_MAX`; raises `Unavailable` if one must come again."""
        unavailable: Unavailable | None = None
        for edu_type, contents in (await self._by_type(edus[:EDUS_MAX])).items():
            try:
                await self.receivers[edu_type](origin, contents)
            except Unavailable as error:
                unavailable = error
            except Exception:
                log.exception("EDUs could not be taken in", edu_type=edu_type, origin=origin, edus=len(contents))
        if unavailable is not None:
            raise unavailable

    async def _by_type(self, edus: Sequence[Any]) -> dict[str, list[Mapping[str, Any]]]:
        by_type: dict[str, list[Mapping[str, Any]]] = {}
        async for edu in in_turns(edus, per_turn=EDUS_PER_TURN):
            edu_type = edu.get("edu_type") if isinstance(edu, dict) else None
            content = edu.get("content") if isinstance(edu, dict) else None
            if not isinstance(edu_type, str) or not isinstance(content, dict) or is_deeper_than(content, DEPTH_MAX):
                self.counts["malformed"] += 1
            elif edu_type not in self.receivers:
                self.counts["other"] += 1
            else:
                self.counts[edu_type] += 1
                by_type.setdefault(edu_type, []).append(content)
        return by_type
