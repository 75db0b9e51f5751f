"""A transaction put together, and taken apart where the destination does not take it as it is. Pure.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson

from tim_server.matrix.identifiers import ServerName


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedPdu:
    """An event that a destination is owed, and its JSON."""

    nid: int
    position: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """EDUs are canonical JSON. `up_to`: the position of the last event, where there is any, be it gone; `cursors` of
    sources once it is acknowledged."""

    txn_id: str
    origin: ServerName
    ts: int
    pdus: Sequence[OwedPdu] = ()
    edus: Sequence[bytes] = ()
    up_to: int | None = None
    cursors: Mapping[str, int] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """Its canonical JSON, the same each time."""
        return b'{"edus":[%b],"origin":%b,"origin_server_ts":%d,"pdus":[%b]}' % (
            b",".join(self.edus),
            orjson.dumps(str(self.origin)),
            self.ts,
            b",".join(pdu.body for pdu in self.pdus),
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send: the events are gone, and sources had nothing, which need not be asked for
        again."""
        return not self.pdus and not self.edus

    def empty(self) -> "Transaction":
        """One that holds nothing, which any server takes to which sending works."""
        return Transaction(txn_id=f"{self.txn_id}.0", origin=self.origin, ts=self.ts)

    def halves(self) -> "tuple[Transaction, Transaction] | None":
        """Two that hold the same, one after the other: first events and EDUs apart, then half of them each. None where
        there is only one thing."""
        nothing: dict[str, int] = {}
        first, second = (replace(self, txn_id=f"{self.txn_id}.{number}") for number in (1, 2))
        middle = max(len(self.pdus), len(self.edus)) // 2
        if self.pdus and self.edus:
            return replace(first, edus=(), cursors=nothing), replace(second, pdus=(), up_to=None)
        if len(self.pdus) > 1:
            before, after = self.pdus[:middle], self.pdus[middle:]
            first = replace(first, pdus=before, up_to=before[-1].position, cursors=nothing)
            return first, replace(second, pdus=after)
        if len(self.edus) > 1:
            first = replace(first, edus=self.edus[:middle], up_to=None, cursors=nothing)
            return first, replace(second, edus=self.edus[middle:])
        return None
