"""What an upgrade sends, where the old room holds what only other servers may have put there."""

from typing import Any

import pytest

from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS
from tim_server.services.rooms.replacement_state import (
    CREATE,
    POWER_LEVELS,
    OldRoom,
    Replacement,
    closing_drafts,
    replacement_drafts,
)

ALICE = UserId("@alice:hospital.example")


@pytest.mark.parametrize("junk", [7, "x", [], None])
@pytest.mark.parametrize("key", ["events", "notifications", "users"])
def test_power_levels_that_older_versions_let_in(key: str, junk: Any) -> None:
    contents = {(CREATE, ""): {"creator": ALICE}, (POWER_LEVELS, ""): {key: junk, "ban": "60", "org.example": 1}}
    old = OldRoom(room_id=RoomId("!old:hospital.example"), version=ROOM_VERSIONS["5"], contents=contents)
    new = Replacement(
        version=ROOM_VERSIONS["11"], creator=ALICE, names={}, additional_creators=(), last_event=EventId("$last")
    )
    for with_power_until_the_end in (False, True):
        drafts = replacement_drafts(old, new, with_power_until_the_end=with_power_until_the_end)
        levels = [draft.content for draft in drafts if draft.type == POWER_LEVELS]
        assert levels[-1] == {"ban": 60, "org.example": 1, "users": {}}
    (closed,) = (d.content for d in closing_drafts(old, RoomId("!new"), ALICE) if d.type == POWER_LEVELS)
    assert closed["events_default"] == 50 and key not in closed
