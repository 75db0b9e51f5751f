"""Drafts: events that somebody wants to send, before the room has decided."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import EventId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionTarget:
    """The stored event that a redaction names, and who sent it."""

    nid: int
    sender: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event to be built, authorised and stored. `origin_server_ts` None: now. `target` goes with `redacts`. One that
    `is_hidden` is shown to no client."""

    type: str
    sender: UserId
    content: dict[str, Any]
    state_key: str | None = None
    redacts: EventId | None = None
    target: RedactionTarget | None = None
    origin_server_ts: int | None = None
    is_hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionKey:
    """What a client's transaction id is scoped to: the device, and the endpoint with its path.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers
    """

    user_id: UserId
    device_id: str
    txn_id: str
    endpoint: tuple[str, ...]

    @property
    def key_hash(self) -> bytes:
        """A short key for the index: transaction ids may be long."""
        parts = "\0".join((*self.endpoint, self.txn_id))
        return hashlib.sha256(parts.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftGroup:
    """Drafts of one room that are accepted or refused together, in order.

    `unless` may look at the current state event of the first draft's key, as (sender, content), and answer True when
    nothing needs to be sent; the event in place is then the answer, for who might have sent another. `require` is given
    its content, or None where there is none, and raises what the caller is to be told. A `transaction` belongs to the
    group's only draft.
    """

    drafts: tuple[Draft, ...]
    transaction: TransactionKey | None = None
    unless: Callable[[UserId, dict[str, Any]], bool] | None = None
    require: Callable[[dict[str, Any] | None], None] | None = None

    @property
    def is_hidden(self) -> bool:
        """Whether an event of it is: without a position of its own it needs a commit of its own, so that servers are
        owed one event at each position."""
        return any(draft.is_hidden for draft in self.drafts)
