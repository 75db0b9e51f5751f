"""What identity servers may answer instead of what they are asked for: nothing becomes of it, and nobody is told more
than that it failed."""

import logging
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.identity_server import IDENTITY, TOKEN, error
from tests.identity_site import ADDRESS, THIRD_PARTY, IdentitySite, invite_of, state
from tests.peer_room import MEMBER
from tests.people import Person


@pytest.fixture
async def alice(site: IdentitySite) -> Person:
    return await site.a.person()


HUGE = web.Response(body=b'{"mappings":{"' + b"x" * 200_000 + b'":""}}', content_type="application/json")
REFUSALS: dict[str, tuple[str, Any, int, str]] = {
    "a token that is not known": ("hash_details", error(401, "M_UNKNOWN_TOKEN"), 403, "M_THREEPID_DENIED"),
    "terms": ("hash_details", error(403, "M_TERMS_NOT_SIGNED"), 403, "M_TERMS_NOT_SIGNED"),
    "too many requests": ("lookup", error(429, "M_LIMIT_EXCEEDED"), 429, "M_LIMIT_EXCEEDED"),
    "a failure": ("lookup", error(500, "M_UNKNOWN"), 502, "M_UNKNOWN"),
    "no identity server": ("hash_details", error(404, "M_UNRECOGNIZED"), 502, "M_UNKNOWN"),
    "no JSON": ("hash_details", web.Response(text="<html>"), 502, "M_UNKNOWN"),
    "a list": ("lookup", web.json_response([]), 502, "M_UNKNOWN"),
    "a huge answer": ("lookup", HUGE, 502, "M_UNKNOWN"),
    "a redirect": ("lookup", web.Response(status=307, headers={"Location": "https://b.example/"}), 502, "M_UNKNOWN"),
    "plain addresses only": (
        "hash_details",
        web.json_response({"algorithms": ["none"], "lookup_pepper": "x"}),
        502,
        "M_UNKNOWN",
    ),
    "no pepper": (
        "hash_details",
        web.json_response({"algorithms": ["sha256"], "lookup_pepper": 1}),
        502,
        "M_UNKNOWN",
    ),
    "half a character as pepper": (
        "hash_details",
        web.Response(body=b'{"algorithms":["sha256"],"lookup_pepper":"\\ud800"}'),
        502,
        "M_UNKNOWN",
    ),
    "mappings that are none": ("lookup", web.json_response({"mappings": ["x"]}), 502, "M_UNKNOWN"),
    "an address in use": ("store-invite", error(400, "M_THREEPID_IN_USE", mxid="@x:y"), 403, "M_THREEPID_DENIED"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_what_an_identity_server_may_answer_instead(site: IdentitySite, alice: Person, case: str) -> None:
    operation, answer, status, errcode = REFUSALS[case]
    room_id = await alice.create_room(preset="private_chat")
    site.identity.answer(operation, answer)
    await alice.refused(status, errcode, "POST", f"rooms/{room_id}/invite", invite_of())
    assert await state(alice, room_id, THIRD_PARTY) == {}
    rooms = await alice.get("joined_rooms")
    await alice.refused(status, errcode, "POST", "createRoom", {"invite_3pid": [invite_of()]})
    assert await alice.get("joined_rooms") == rooms


@pytest.mark.parametrize("user_id", ["bob", "@bob", "", 1, None, {}, "@" + "x" * 300 + ":b.example"])
async def test_a_user_who_is_none(site: IdentitySite, alice: Person, user_id: Any) -> None:
    room_id = await alice.create_room(preset="private_chat")
    site.identity.bound["email", ADDRESS] = user_id
    await alice.refused(502, "M_UNKNOWN", "POST", f"rooms/{room_id}/invite", invite_of())
    assert set(await state(alice, room_id, MEMBER)) == {alice.user_id}


KEY = "NDgcP0gWkyQ2Y6eTtWnw3rPfUDgGtGPPbeU2WLqxi3A"
VALID = f"https://id.example{IDENTITY}/pubkey/isvalid"
BAD_INVITES: dict[str, dict[str, Any]] = {
    "no token": {"token": None},
    "an empty token": {"token": ""},
    "a token of other characters": {"token": "a/b"},
    "a long token": {"token": "a" * 256},
    "no name": {"display_name": None},
    "a long name": {"display_name": "x" * 256},
    "the address as the name": {"display_name": f"<{ADDRESS.upper()}>"},
    "no keys": {"public_keys": []},
    "keys that are no list": {"public_keys": {}},
    "too many keys": {"public_keys": [{"public_key": KEY, "key_validity_url": VALID}] * 11},
    "a key that is no Base64": {"public_keys": [{"public_key": "?", "key_validity_url": VALID}]},
    "a short key": {"public_keys": [{"public_key": KEY[:20], "key_validity_url": VALID}]},
    "a key that is none": {"public_keys": [{"public_key": 1, "key_validity_url": VALID}]},
    "a key without a place": {"public_keys": [{"public_key": KEY}]},
    "a good key beside what is none": {"public_keys": [{"public_key": KEY, "key_validity_url": VALID}, 1]},
    "a place without TLS": {"public_keys": [{"public_key": KEY, "key_validity_url": "http://id.example/"}]},
    "a place with a password": {"public_keys": [{"public_key": KEY, "key_validity_url": "https://a:b@id.example/"}]},
    "a place elsewhere": {"public_keys": [{"public_key": KEY, "key_validity_url": "https://elsewhere.example/"}]},
}


@pytest.mark.parametrize("case", BAD_INVITES)
async def test_invites_that_cannot_be_used(site: IdentitySite, alice: Person, case: str) -> None:
    answer = {"token": "t", "display_name": "b", "public_keys": [{"public_key": KEY, "key_validity_url": VALID}]}
    room_id = await alice.create_room(preset="private_chat")
    site.identity.answer("store-invite", {**answer, **BAD_INVITES[case]})
    await alice.refused(502, "M_UNKNOWN", "POST", f"rooms/{room_id}/invite", invite_of())
    assert await state(alice, room_id, THIRD_PARTY) == {}
    site.identity.answer("store-invite", answer)
    await alice.post(f"rooms/{room_id}/invite", invite_of())


async def test_an_identity_server_that_is_away(site: IdentitySite, alice: Person) -> None:
    room_id = await alice.create_room()
    invite = invite_of(id_server="away.example")
    await alice.refused(502, "M_UNKNOWN", "POST", f"rooms/{room_id}/invite", invite)
    await alice.refused(502, "M_UNKNOWN", "POST", "createRoom", {"invite_3pid": [invite]})


async def test_neither_logs_nor_errors_tell_the_address_or_the_token(
    site: IdentitySite, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    room_id, told = await alice.create_room(preset="private_chat"), []
    with capture_logs() as logs:
        for answer in (
            error(400, ADDRESS.replace("@", "."), error=ADDRESS),
            error(500, "M_UNKNOWN", error=f"{ADDRESS} {TOKEN}"),
            web.Response(text=ADDRESS),
        ):
            site.identity.answer("store-invite", answer)
            told.append(await alice.request("POST", f"rooms/{room_id}/invite", invite_of()))
        for changes in ({"id_server": "!"}, {"medium": "!"}, {"id_access_token": " "}):
            told.append(await alice.request("POST", f"rooms/{room_id}/invite", invite_of(**changes)))
    assert [status for status, _ in told] == [403, 502, 502, 400, 400, 400]
    assert sum(entry["event"] == "an identity server did not help" for entry in logs) == 3
    for text in (str(told), str(logs), caplog.text):
        assert "patient" not in text
        assert TOKEN not in text
