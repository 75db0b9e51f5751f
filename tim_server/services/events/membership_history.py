"""What a reader's membership of a room was, at any place of its timeline. Pure: looks at rows that were loaded.

A place is (position, minor); changes of membership stand at (position, 0).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tim_server.storage.state import MembershipRow
from tim_server.storage.timeline import Place


@dataclass(frozen=True, slots=True)
class MembershipHistory:
    """Each change of one user's resolved membership of one room, oldest first."""

    changes: Sequence[MembershipRow] = ()

    def after(self, place: Place) -> str:
        """The membership once the event at `place` has had its effect; `leave` where there is none."""
        for change in reversed(self.changes):
            if (change.position, 0) <= place:
                return change.membership
        return "leave"

    def before(self, place: Place) -> str:
        """The membership just before the event at `place`."""
        for change in reversed(self.changes):
            if (change.position, 0) < place:
                return change.membership
        return "leave"

    def joined_later(self, place: Place) -> bool:
        """Whether the user was in the room after the event at `place`: still, as where it came late, or again."""
        joins_later = (change.membership == "join" and (change.position, 0) > place for change in self.changes)
        return self.after(place) == "join" or any(joins_later)

    def within(self, state: frozenset[int]) -> str:
        """The membership in a state, given as the nids of its events."""
        for change in reversed(self.changes):
            if change.event_nid in state:
                return change.membership
        return "leave"

    @property
    def joined_spans(self) -> list[tuple[int, int]]:
        """The positions from which and up to which the user was joined, oldest first."""
        ends = [change.position for change in self.changes[1:]] + [2**63 - 1]
        changes = zip(self.changes, ends, strict=False)
        return [(change.position, end) for change, end in changes if change.membership == "join"]

    @property
    def leaving(self) -> MembershipRow | None:
        """The change with which the user last ceased to be joined; None for who never was, or still is."""
        after = None
        for change in reversed(self.changes):
            if change.membership == "join":
                return after
            after = change
        return None

    @property
    def newest(self) -> MembershipRow | None:
        """The membership now; None where the user never had anything to do with the room."""
        return self.changes[-1] if self.changes else None


NO_HISTORY = MembershipHistory()

Histories: TypeAlias = Mapping[int, MembershipHistory]
"""A user's histories by room nid."""
