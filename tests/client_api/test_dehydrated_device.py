"""Dehydrated devices over real HTTP.

Spec: https://github.com/matrix-org/matrix-spec-proposals/pull/3814
"""

from dataclasses import replace
from typing import Any

import pytest

from tests.client_api.test_device_management import auth_of, device_ids, log_in
from tests.people import Hospital, Person
from tests.signed_keys import DeviceIdentity

PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
DATA = {"algorithm": "org.matrix.msc3814.v2", "device_pickle": "x", "nonce": "y"}


def dehydrated(person: Person, device_id: str = "DRY", **changes: Any) -> dict[str, Any]:
    """What uploads a dehydrated device."""
    identity = DeviceIdentity(replace(person, device_id=device_id))
    return {
        "device_id": device_id,
        "device_data": DATA,
        "initial_device_display_name": "Dehydrated",
        "device_keys": identity.device_keys,
        "one_time_keys": identity.one_time_keys("A"),
        "fallback_keys": identity.one_time_keys("F", fallback=True),
        **changes,
    }


async def test_where_there_is_none(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.refused(404, "M_NOT_FOUND", "GET", PATH)
    await alice.refused(404, "M_NOT_FOUND", "DELETE", PATH)
    await alice.refused(404, "M_NOT_FOUND", "POST", f"{PATH}/DRY/events", {})
    assert (await alice.get("/_matrix/client/versions"))["unstable_features"]["org.matrix.msc3814"]


async def test_a_dehydrated_device_gathers_messages_that_can_be_read_again_and_again(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    assert await alice.put(PATH, dehydrated(alice)) == {"device_id": "DRY"}
    assert await alice.get(PATH) == {"device_id": "DRY", "device_data": DATA}
    keys = await bob.post("keys/query", {"device_keys": {alice.user_id: []}})
    assert list(keys["device_keys"][alice.user_id]) == ["DRY"]
    claimed = await bob.post("keys/claim", {"one_time_keys": {alice.user_id: {"DRY": "signed_curve25519"}}})
    assert list(claimed["one_time_keys"][alice.user_id]["DRY"]) == ["signed_curve25519:A"]
    for number in range(130):
        messages = {alice.user_id: {"*": {"n": number}}}
        await bob.put(f"sendToDevice/m.test/{number}", {"messages": messages})
    for _ in range(2):
        received: list[int] = []
        body: dict[str, Any] = {}
        while True:
            page = await alice.post(f"{PATH}/DRY/events", body)
            if not page["events"]:
                break
            received += [event["content"]["n"] for event in page["events"]]
            body = {"next_batch": page["next_batch"]}
        assert received == list(range(130))


async def test_a_new_one_takes_the_place_of_the_old_one(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.put(PATH, dehydrated(alice))
    await alice.put(f"sendToDevice/m.test/{1}", {"messages": {alice.user_id: {"DRY": {}}}})
    await alice.put(PATH, dehydrated(alice, "DRIER", device_data={"x": 1}))
    assert await alice.get(PATH) == {"device_id": "DRIER", "device_data": {"x": 1}}
    assert set(await device_ids(alice)) == {alice.device_id, "DRIER"}
    await alice.refused(403, "M_FORBIDDEN", "POST", f"{PATH}/DRY/events", {})
    await alice.put(PATH, dehydrated(alice, "DRIER"))
    assert (await alice.post(f"{PATH}/DRIER/events"))["events"] == []
    assert await alice.expect(200, "DELETE", PATH) == {"device_id": "DRIER"}
    assert await device_ids(alice) == [alice.device_id]
    await alice.refused(404, "M_NOT_FOUND", "GET", PATH)


async def test_it_outlives_sessions(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.put(PATH, dehydrated(alice))
    await alice.post("logout/all")
    alice = await log_in(alice)
    await log_in(alice, "OTHER")
    await alice.post("account/password", {"new_password": "another password", **auth_of(alice)})
    assert set(await device_ids(alice)) == {alice.device_id, "DRY"}
    assert (await alice.get(PATH))["device_id"] == "DRY"


async def test_it_is_removed_like_any_device(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.put(PATH, dehydrated(alice))
    await alice.expect(200, "DELETE", "devices/DRY", auth_of(alice))
    await alice.refused(404, "M_NOT_FOUND", "GET", PATH)


async def test_a_device_that_somebody_logs_in_with_is_not_dehydrated(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.put(PATH, dehydrated(alice))
    there = await log_in(alice, "DRY")
    await alice.refused(404, "M_NOT_FOUND", "GET", PATH)
    await alice.post("logout/all")
    await there.refused(401, "M_UNKNOWN_TOKEN", "GET", "devices")


async def test_devices_that_are_refused(hospital: Hospital) -> None:
    alice = await hospital.person()
    identity = DeviceIdentity(replace(alice, device_id="DRY"))
    for body, status, errcode in [
        ({}, 400, "M_MISSING_PARAM"),
        (dehydrated(alice, device_id="x" * 256), 400, "M_INVALID_PARAM"),
        (dehydrated(alice, device_data="x"), 400, "M_BAD_JSON"),
        (dehydrated(alice, device_data={"x": "y" * 140_000}), 413, "M_TOO_LARGE"),
        (dehydrated(alice, device_keys={}), 400, "M_BAD_JSON"),
        (dehydrated(alice, device_keys=DeviceIdentity(alice).device_keys), 400, "M_INVALID_PARAM"),
        (dehydrated(alice, device_keys=identity.device_keys | {"x": 1}), 400, "M_INVALID_SIGNATURE"),
        (dehydrated(alice, one_time_keys={"x": "y"}), 400, "M_INVALID_PARAM"),
        (dehydrated(alice, alice.device_id), 400, "M_INVALID_PARAM"),
    ]:
        await alice.refused(status, errcode, "PUT", PATH, body)
    await alice.refused(404, "M_NOT_FOUND", "GET", PATH)
    assert await device_ids(alice) == [alice.device_id]


@pytest.mark.parametrize("next_batch", ["x", "s1", "d1", "d1.x", ""])
async def test_tokens_that_are_none(hospital: Hospital, next_batch: str) -> None:
    alice = await hospital.person()
    await alice.put(PATH, dehydrated(alice))
    await alice.refused(400, "M_INVALID_PARAM", "POST", f"{PATH}/DRY/events", {"next_batch": next_batch})
