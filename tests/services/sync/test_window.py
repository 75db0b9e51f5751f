"""What of the commit log's tail concerns one user."""

from tests.services.rooms.conftest import ALICE, BOB
from tim_server.services.sync.views import UserView
from tim_server.services.sync.window import window_of
from tim_server.storage.commit_log import CommitEntry, Fact, by_room
from tim_server.storage.device_lists import DEVICE_LISTS
from tim_server.storage.presence import PRESENCE_STREAM
from tim_server.storage.typing import TYPING


def test_facts_about_members_have_no_answer_speak_of_a_room() -> None:
    view = UserView(user_id=ALICE, rooms={1: (1, 1), 2: (2, 2)}, ignored=frozenset(), trusted_from=1, touched_at=1)
    facts = [Fact(stream, nid, (BOB,)) for nid in (1, 2) for stream in (PRESENCE_STREAM, DEVICE_LISTS)]
    entry = CommitEntry(
        previous=1, position=2, facts=by_room([*facts, Fact(TYPING, 2, (BOB,)), Fact(TYPING, 3, (BOB,))])
    )
    window = window_of(view, [entry], since=1, up_to=2)
    assert window.room_nids == {2}
    assert window.facts_of(PRESENCE_STREAM).keys() == {1, 2}
    assert window.facts_of(TYPING).keys() == {2}
