"""Gaps that reach back to the room's creation."""

import pytest

from tests.conftest import Neighbourhood
from tests.services.rooms.remote.missing.conftest import Gap


@pytest.mark.parametrize("version", ["2", "11", "12"])
async def test_a_branch_that_goes_back_to_the_creation_of_the_room_is_taken_in(
    neighbourhood: Neighbourhood, version: str
) -> None:
    gap = await Gap.open(neighbourhood, version)
    created = gap.room.state["m.room.create", ""]
    fork = gap.room.make(
        "m.room.message",
        {"msgtype": "m.text", "body": "from long ago"},
        prev_events=(gap.room.state["m.room.join_rules", ""].event_id,),
    )
    gap.room.events[fork.event_id] = fork
    await gap.send(fork)
    assert await gap.sees("from long ago")
    row = await gap.row(created)
    assert row is not None and row.rejected is None
    await gap.alice.say(gap.room.room_id, "still here")
    head = await gap.head()
    assert head.state["m.room.create", ""] == row.nid
