"""What a room takes that an administrator is deleting, or has blocked. Pure.

Every process decides so on the room's head: to close or block a room has all processes read the head anew.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from tim_server.matrix.errors import Forbidden, MatrixError, NotFound
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.member_content import MEMBER, membership_in

NOT_IN_ROOM = "This server is not in the room"
SHUT = "An administrator of this server has closed the room"
CLOSED = "The room is being deleted by an administrator of this server"
BLOCKED = "The room has been blocked by an administrator of this server"


class Waits(Protocol):
    """Something that waits to be decided, and is told what came of it."""

    @property
    def group(self) -> object:
        """What is to be decided."""

    def settle(self, answer: MatrixError) -> None:
        """It is refused."""


Waiting = TypeVar("Waiting", bound=Waits)


def admitted(head: RoomHead | None, batch: Sequence[Waiting]) -> tuple[RoomHead, list[Waiting]]:
    """The head to decide on, and what is left to decide; others are answered. Raises `NotFound` for drafts where this
    server is not in the room, and for anything in an unknown one."""
    if head is None or (not head.extremities and isinstance(batch[0].group, DraftGroup)):
        raise NotFound(NOT_IN_ROOM)
    if not head.is_closed and not head.is_blocked:
        return head, [*batch]
    left = []
    for item in batch:
        error = refusal_of(head, item.group)
        if error is None:
            left.append(item)
        else:
            item.settle(error)
    return head, left


def check_takes(head: RoomHead, group: DraftGroup) -> None:
    """Raise `NotFound` where this server is not in the room, `Forbidden` where that does not take the drafts."""
    if not head.extremities:
        raise NotFound(NOT_IN_ROOM)
    if (error := refusal_of(head, group)) is not None:
        raise error


def refusal_of(head: RoomHead, group: object) -> Forbidden | None:
    """Why the room does not take this; None where it may. A room that is being deleted takes leaves of its local
    members only, one that is blocked what brings nobody in."""
    if head.is_closed:
        return None if isinstance(group, DraftGroup) and all(map(_leaves, group.drafts)) else Forbidden(CLOSED)
    if head.is_blocked and isinstance(group, DraftGroup) and any(map(_brings_in, group.drafts)):
        return Forbidden(BLOCKED)
    return None


def _leaves(draft: Draft) -> bool:
    return draft.type == MEMBER and draft.state_key == draft.sender and membership_in(draft.content) == "leave"


def _brings_in(draft: Draft) -> bool:
    return draft.type == MEMBER and membership_in(draft.content) not in ("leave", "ban")
