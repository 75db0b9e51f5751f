"""Which rooms an answer speaks of, in which section, and which part of their timeline. Pure.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tim_server.services.events.membership_history import NO_HISTORY, Histories, MembershipHistory
from tim_server.services.sync.request import Reading
from tim_server.storage.memberships import UserRoom
from tim_server.storage.state import MembershipRow
from tim_server.storage.sync_queries import TimelineWindow


class Section(Enum):
    """The sections of `rooms`."""

    JOIN = "join"
    INVITE = "invite"
    KNOCK = "knock"
    LEAVE = "leave"


SECTIONS = {"join": Section.JOIN, "invite": Section.INVITE, "knock": Section.KNOCK}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomPlan:
    """What to tell of one room.

    `window` is the part of the timeline (None: only the user's own membership events). `base` is the position at which
    the client knows the state; None where it does not. `is_whole`: it gets all of the state. `left` is the change with
    which the user went out. `is_return`: the client may have a timeline of earlier, to which this one does not connect.
    """

    room: UserRoom
    section: Section
    history: MembershipHistory
    window: TimelineWindow | None = None
    base: int | None = None
    is_whole: bool = True
    left: MembershipRow | None = None
    is_return: bool = False

    @property
    def room_nid(self) -> int:
        """The room's nid."""
        return self.room.room_nid


def plan_rooms(reading: Reading, rooms: Iterable[UserRoom], histories: Histories, now: int) -> list[RoomPlan]:
    """The rooms that the answer may speak of. `rooms` are the user's; `now` is the position that is answered up to."""
    plans = []
    for room in rooms:
        if not reading.filter.room.allows_room(room.room_id):
            continue
        history = histories.get(room.room_nid, NO_HISTORY)
        section = SECTIONS.get(room.membership, Section.LEAVE)
        if section is Section.JOIN:
            plans.append(_plan_joined(reading, room, history, now))
        elif section is not Section.LEAVE:
            if reading.since is None or reading.full_state or room.position > reading.since:
                plans.append(RoomPlan(room=room, section=section, history=history))
        elif _is_leave_told(reading, room):
            plans.append(_plan_left(reading, room, history))
    return plans


def _plan_joined(reading: Reading, room: UserRoom, history: MembershipHistory, now: int) -> RoomPlan:
    was_joined = _was_joined(reading, history)
    after = reading.since if was_joined and reading.since is not None else 0
    return RoomPlan(
        room=room,
        section=Section.JOIN,
        history=history,
        window=TimelineWindow(room_nid=room.room_nid, after=after, up_to=now),
        base=reading.since if was_joined else None,
        is_whole=reading.full_state or not was_joined,
        is_return=not was_joined and _is_return(reading, history),
    )


def _was_joined(reading: Reading, history: MembershipHistory) -> bool:
    """Whether the user was in the room at the token, so that the client knows its state. What they missed by going
    out and coming back since then is a change like any other."""
    return reading.since is not None and history.after((reading.since, 0)) == "join"


def _is_return(reading: Reading, history: MembershipHistory) -> bool:
    """Whether the client may have been told events of the room before: the user joined it, or went out of it."""
    if reading.since is None:
        return False
    told = (change for change in history.changes if change.position <= reading.since)
    return any(change.membership not in SECTIONS or change.membership == "join" for change in told)


def _is_leave_told(reading: Reading, room: UserRoom) -> bool:
    """A client that may take the user for a member is told that they are not, though they may have forgotten the room
    on another device; rooms that were left earlier are told if asked for, and not forgotten."""
    if reading.since is not None:
        return room.position > reading.since
    return reading.filter.room.include_leave and not room.forgotten


def _plan_left(reading: Reading, room: UserRoom, history: MembershipHistory) -> RoomPlan:
    left = _went_out(history)
    if left is None or (reading.since is not None and left.position <= reading.since):
        return RoomPlan(room=room, section=Section.LEAVE, history=history)
    was_joined = _was_joined(reading, history)
    after = reading.since if was_joined and reading.since is not None else 0
    return RoomPlan(
        room=room,
        section=Section.LEAVE,
        history=history,
        window=TimelineWindow(room_nid=room.room_nid, after=after, up_to=left.position),
        base=reading.since if was_joined else None,
        is_whole=not was_joined,
        left=left,
        is_return=not was_joined and _is_return(reading, history),
    )


def _went_out(history: MembershipHistory) -> MembershipRow | None:
    """The change that ended the user's last time in the room; None where they never were in it."""
    left = None
    for change in reversed(history.changes):
        if change.membership == "join":
            return left
        left = change
    return None
