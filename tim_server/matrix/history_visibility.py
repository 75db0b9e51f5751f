"""Who may see which event: room history visibility.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class HistoryVisibility(Enum):
    """`history_visibility` of the `m.room.history_visibility` event."""

    WORLD_READABLE = "world_readable"
    SHARED = "shared"
    INVITED = "invited"
    JOINED = "joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewpoint:
    """What decides whether a user may see an event, from the state of the room at that event, without it."""

    history_visibility: HistoryVisibility
    membership: str  # of the user; `leave` where there is none
    joined_later: bool  # whether the user joined the room at any point after the event was sent


def history_visibility_of(content: Mapping[str, Any] | None) -> HistoryVisibility:
    """The visibility that an `m.room.history_visibility` event sets.

    If there is no such event, or its value is not understood, the visibility is assumed to be `shared`.
    """
    value = None if content is None else content.get("history_visibility")
    try:
        return HistoryVisibility(value)
    except ValueError:
        return HistoryVisibility.SHARED


def may_see(viewpoint: Viewpoint) -> bool:
    """Whether the user may see an event of which `viewpoint` tells, by the five rules of the specification."""
    # 1. If the `history_visibility` was set to `world_readable`, allow.
    if viewpoint.history_visibility is HistoryVisibility.WORLD_READABLE:
        return True
    # 2. If the user's `membership` was `join`, allow.
    if viewpoint.membership == "join":
        return True
    # 3. If `history_visibility` was set to `shared`, and the user joined the room at any point after the event, allow.
    if viewpoint.history_visibility is HistoryVisibility.SHARED and viewpoint.joined_later:
        return True
    # 4. If the user's `membership` was `invite`, and the `history_visibility` was set to `invited`, allow.
    # 5. Otherwise, deny.
    return viewpoint.membership == "invite" and viewpoint.history_visibility is HistoryVisibility.INVITED


def may_see_event(
    before: Viewpoint, *, event_type: str, state_key: str | None, content: Mapping[str, Any], user_id: str
) -> bool:
    """Whether `user_id` may see this event, where `before` is their viewpoint before it.

    `m.room.history_visibility` events are visible if the visibility before *or* after the event allows it; likewise
    the user's own `m.room.member` events, if their membership before *or* after does.
    """
    if may_see(before):
        return True
    if event_type == "m.room.history_visibility" and state_key == "":
        return may_see(replace(before, history_visibility=history_visibility_of(content)))
    if event_type == "m.room.member" and state_key == user_id:
        membership = content.get("membership")
        return isinstance(membership, str) and may_see(replace(before, membership=membership))
    return False
