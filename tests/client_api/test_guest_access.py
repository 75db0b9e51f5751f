"""What guests may do, and that a room may cease to let them in.

Spec: https://spec.matrix.org/v1.19/client-server-api/#guest-access
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.people import CLIENT, PASSWORD, Hospital, Person, run_hospital
from tests.signed_keys import DeviceIdentity

REGISTRATION = {"enabled": True, "requires_token": False, "guests_allowed": True}
CAN_JOIN = {"guest_access": "can_join"}


@pytest.fixture(scope="module")
async def hospital(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    """A homeserver with guests, which looks often whether they may stay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tim_server.app.rooms.GUEST_SWEEP_INTERVAL_S", 0.05)
        folder = tmp_path_factory.mktemp("hospital")
        async with run_hospital(tenant_dsn, folder, registration=REGISTRATION) as hospital:
            yield hospital


async def make_guest(hospital: Hospital) -> Person:
    async with hospital.session.post(f"{CLIENT}/register?kind=guest", json={}) as response:
        answer = await response.json()
        assert response.status == 200, answer
    return Person(hospital.session, answer["user_id"], answer["access_token"], answer["device_id"])


async def until_left(person: Person, room_id: str, guest: Person, since: str) -> None:
    """Sync until the guest's leaving is told."""
    async with asyncio.timeout(10):
        while True:
            answer = await person.get("sync", since=since, timeout=5_000)
            since = answer["next_batch"]
            told = answer.get("rooms", {}).get("join", {}).get(room_id, {"timeline": {"events": []}})
            changes = [event for event in told["timeline"]["events"] if event.get("state_key") == guest.user_id]
            if any(change["content"]["membership"] == "leave" for change in changes):
                return


async def now(person: Person) -> str:
    return str((await person.get("sync"))["next_batch"])


async def test_guests_join_where_they_may_and_talk_there(hospital: Hospital) -> None:
    alice, guest = await hospital.person(), await make_guest(hospital)
    room_id = await alice.create_room()
    await guest.refused(403, "M_GUEST_ACCESS_FORBIDDEN", "POST", f"rooms/{room_id}/join", {})
    await alice.set_state(room_id, "m.room.guest_access", CAN_JOIN)
    await guest.join(room_id)
    event_id = await guest.say(room_id, "hello")
    assert (await guest.event(room_id, event_id))["sender"] == guest.user_id


async def test_guests_join_no_longer_where_what_let_them_in_is_redacted(hospital: Hospital) -> None:
    alice, guest = await hospital.person(), await make_guest(hospital)
    room_id = await alice.create_room()
    access = await alice.set_state(room_id, "m.room.guest_access", CAN_JOIN)
    await alice.put(f"rooms/{room_id}/redact/{access}/1", {})
    await guest.refused(403, "M_GUEST_ACCESS_FORBIDDEN", "POST", f"rooms/{room_id}/join", {})


async def test_guests_have_keys_and_see_their_devices(hospital: Hospital) -> None:
    alice, guest = await hospital.person(), await make_guest(hospital)
    identity = DeviceIdentity(guest)
    await identity.publish()
    await guest.post("keys/upload", {"one_time_keys": identity.one_time_keys("A")})
    assert list((await guest.post("keys/query", {"device_keys": {guest.user_id: []}}))["device_keys"][guest.user_id])
    wanted = {guest.user_id: {guest.device_id: "signed_curve25519"}}
    assert (await guest.post("keys/claim", {"one_time_keys": wanted}))["one_time_keys"]
    await guest.put("sendToDevice/m.test/1", {"messages": {alice.user_id: {"*": {}}}})
    await guest.put(f"devices/{guest.device_id}", {"display_name": "x"})
    assert (await guest.get("devices"))["devices"] == [await guest.get(f"devices/{guest.device_id}")]
    for method, path in (("DELETE", f"devices/{guest.device_id}"), ("POST", "keys/device_signing/upload")):
        await guest.refused(403, "M_GUEST_ACCESS_FORBIDDEN", method, path, {})


async def test_guests_do_not_create_rooms_and_name_the_room_whose_events_they_want(hospital: Hospital) -> None:
    guest = await make_guest(hospital)
    await guest.refused(403, "M_GUEST_ACCESS_FORBIDDEN", "POST", "createRoom", {})
    await guest.refused(403, "M_GUEST_ACCESS_FORBIDDEN", "GET", "events")
    await guest.refused(403, "M_GUEST_ACCESS_FORBIDDEN", "GET", "initialSync")


async def test_guests_look_into_rooms_that_everybody_may_look_into(hospital: Hospital) -> None:
    alice, guest = await hospital.person(), await make_guest(hospital)
    room_id = await alice.create_room()
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "world_readable"})
    event_id = await alice.say(room_id, "hello")
    room = await guest.get(f"rooms/{room_id}/initialSync", limit=1)
    assert [event["event_id"] for event in room["messages"]["chunk"]] == [event_id]
    assert (await guest.get("events", room_id=room_id))["chunk"] == []


async def test_guests_leave_when_the_room_no_longer_lets_them_in(hospital: Hospital) -> None:
    alice, bob, guest = await hospital.person(), await hospital.person(), await make_guest(hospital)
    room_id, other = await alice.create_room(), await alice.create_room()
    for each in (room_id, other):
        await alice.set_state(each, "m.room.guest_access", CAN_JOIN)
        await guest.join(each)
    await bob.join(room_id)
    since = await now(alice)
    await alice.set_state(room_id, "m.room.guest_access", {"guest_access": "forbidden"})
    await until_left(alice, room_id, guest, since)
    assert (await alice.state(room_id, "m.room.member", bob.user_id))["membership"] == "join"
    assert (await alice.state(other, "m.room.member", guest.user_id))["membership"] == "join"


async def test_guests_leave_when_what_let_them_in_is_redacted(hospital: Hospital) -> None:
    alice, guest = await hospital.person(), await make_guest(hospital)
    room_id = await alice.create_room()
    event_id = await alice.set_state(room_id, "m.room.guest_access", CAN_JOIN)
    await guest.join(room_id)
    since = await now(alice)
    await alice.put(f"rooms/{room_id}/redact/{event_id}/1", {})
    await until_left(alice, room_id, guest, since)


async def test_the_device_of_a_guest_who_becomes_an_ordinary_user_is_told_of(hospital: Hospital) -> None:
    alice, guest = await hospital.person(), await make_guest(hospital)
    room_id = await alice.create_room()
    await alice.set_state(room_id, "m.room.guest_access", CAN_JOIN)
    await guest.join(room_id)
    since = (await alice.get("sync", since=await now(alice)))["next_batch"]
    body = {
        "username": guest.user_id[1:].partition(":")[0],
        "password": PASSWORD,
        "guest_access_token": guest.token,
        "auth": {"type": "m.login.dummy"},
    }
    await alice.post("register", body)
    assert (await alice.get("sync", since=since))["device_lists"] == {"changed": [guest.user_id], "left": []}
