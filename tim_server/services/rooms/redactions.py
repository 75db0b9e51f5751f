"""Redactions that take effect with what a decision takes in, whichever comes first: the redaction or what it redacts.

Spec: https://spec.matrix.org/v1.19/rooms/v11/#handling-redactions
"""

from dataclasses import dataclass, field

from tim_server.matrix.identifiers import EventId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """A redaction that was accepted. `is_of_power`: its sender may redact events of other servers; in v1 and v2 the
    authorisation rules have seen to that."""

    nid: int
    sender: UserId
    is_of_power: bool


@dataclass(slots=True)
class Redactions:
    """Redactions by what they redact, and which have taken `effect`: pairs of nids, of the redacted event first."""

    effect: list[tuple[int, int]] = field(default_factory=list)
    _of: dict[EventId, list[Redaction]] = field(default_factory=dict)

    def wait(self, event_id: EventId, redaction: Redaction) -> None:
        """Have the redaction take effect when the event comes."""
        self._of.setdefault(event_id, []).append(redaction)

    def came(self, event_id: EventId, nid: int, sender: UserId) -> list[Redaction]:
        """The event has come for which redactions may wait: those that redact it."""
        return [redaction for redaction in self._of.get(event_id, ()) if self.redact(nid, sender, redaction)]

    def redact(self, nid: int, sender: UserId, redaction: Redaction) -> bool:
        """Have a redaction take effect on an event, if its sender has the power, or is of the server that sent it;
        whether it may."""
        is_allowed = redaction.is_of_power or sender.server_name == redaction.sender.server_name
        if is_allowed and all(nid != redacted for redacted, _ in self.effect):
            self.effect.append((nid, redaction.nid))
        return is_allowed
