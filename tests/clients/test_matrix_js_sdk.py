"""A conversation through matrix-js-sdk, the library of Element Web and of many other clients in JavaScript.

`js_conversation.mjs` holds it; the tests look at what it saw.
"""

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.server_process import RunningServer

pytestmark = pytest.mark.external

FOLDER = Path(__file__).parent
TIMEOUT_S = 90

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def conversation(running_server: RunningServer, node: str) -> dict[str, Any]:
    """What Alice and Bob saw."""
    command = [node, str(FOLDER / "js_conversation.mjs"), running_server.base_url, str(next(_numbers))]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert finished.returncode == 0, f"{finished.stdout}\n{finished.stderr}"
    results: dict[str, Any] = json.loads(finished.stdout)
    return results


def test_the_sync_loop_never_failed(conversation: dict[str, Any]) -> None:
    assert conversation["complaints"] == []


def test_an_invitation_names_room_inviter_and_reason(conversation: dict[str, Any]) -> None:
    invitation = {"name": "Ward 3", "inviter": conversation["alice"], "reason": "the night shift"}
    assert conversation["invitation"] == invitation


def test_ten_messages_each_way_reach_both_once_and_in_order(conversation: dict[str, Any]) -> None:
    assert len(conversation["said"]) == 20
    assert conversation["heard"] == [conversation["said"]] * 2
    assert conversation["heard_event_ids"] == [conversation["event_ids"]] * 2


def test_a_new_device_scrolls_back_to_the_beginning(conversation: dict[str, Any]) -> None:
    seen = conversation["new_device"]
    assert seen["before"] == conversation["said"][-len(seen["before"]) :]
    assert 0 < len(seen["before"]) <= 5
    assert seen["after"] == conversation["said"]
    assert seen["types"][0] == "m.room.create"
    assert seen["types"].count("m.room.create") == 1
    assert seen["name"] == "Ward 3"


def test_messages_page_back_to_the_creation_of_the_room(conversation: dict[str, Any]) -> None:
    pages = conversation["pages"]
    assert conversation["paged"] == conversation["said"][::-1]
    assert pages[-1][-1] == "m.room.create"
    assert all(len(page) <= 7 for page in pages)
    assert all(len(page) == 7 for page in pages[:-1])


def test_members_are_loaded_lazily(conversation: dict[str, Any]) -> None:
    members = conversation["members"]
    both = sorted([conversation["alice"], conversation["bob"]])
    assert members["loaded_from_server"] is True
    assert members["after"] == both
    assert members["names"][conversation["alice"]] == "Alice A."


def test_an_event_is_found_with_its_context(conversation: dict[str, Any]) -> None:
    assert conversation["found_in_context"] is True


def test_state_changes_arrive_and_need_power(conversation: dict[str, Any]) -> None:
    assert conversation["topic"] == "Night shift"
    assert conversation["refusal"] == "403 M_FORBIDDEN"
    assert conversation["alias"] is True


def test_a_redacted_message_is_emptied(conversation: dict[str, Any]) -> None:
    assert conversation["redacted"] == {}


def test_account_data_reaches_another_device(conversation: dict[str, Any]) -> None:
    assert conversation["account_data"] == {"colour": "green"}


def test_a_room_that_was_left_and_forgotten_is_gone(conversation: dict[str, Any]) -> None:
    assert conversation["forgotten"] is True
    assert conversation["joined_rooms"] == []
    assert conversation["after_forgetting"] == "403 M_FORBIDDEN"


def test_a_device_that_logged_out_is_unknown(conversation: dict[str, Any]) -> None:
    assert conversation["after_logout"] == "401 M_UNKNOWN_TOKEN"
