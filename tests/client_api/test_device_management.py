"""Devices over real HTTP: listing, renaming, removing.

Spec: https://spec.matrix.org/v1.19/client-server-api/#device-management
"""

from typing import Any

import pytest

from tests.people import CLIENT, PASSWORD, Hospital, Person
from tests.signed_keys import CrossSigning, DeviceIdentity


async def log_in(person: Person, device_id: str = "", name: str | None = None) -> Person:
    """The person at another device."""
    body: dict[str, Any] = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": person.user_id},
        "password": PASSWORD,
    }
    if device_id:
        body["device_id"] = device_id
    if name is not None:
        body["initial_device_display_name"] = name
    answer = await person.post("login", body)
    return Person(person.session, person.user_id, answer["access_token"], answer["device_id"])


def auth_of(person: Person, **more: Any) -> dict[str, Any]:
    """What authenticates a person in one step."""
    identifier = {"type": "m.id.user", "user": person.user_id}
    return {"auth": {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, **more}}


async def device_ids(person: Person) -> list[str]:
    return [device["device_id"] for device in (await person.get("devices"))["devices"]]


async def test_devices_are_listed_with_name_and_when_they_were_seen(hospital: Hospital) -> None:
    alice = await hospital.person()
    there = await log_in(alice, "TABLET", "Täblet")
    devices = {device["device_id"]: device for device in (await alice.get("devices"))["devices"]}
    assert set(devices) == {alice.device_id, "TABLET"}
    assert devices["TABLET"]["display_name"] == "Täblet"
    assert "display_name" not in devices[alice.device_id]
    assert all(isinstance(device["last_seen_ts"], int) for device in devices.values())
    assert await there.get("devices/TABLET") == devices["TABLET"]


async def test_others_devices_are_not_found(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    await bob.refused(404, "M_NOT_FOUND", "GET", f"devices/{alice.device_id}")
    await bob.refused(404, "M_NOT_FOUND", "PUT", f"devices/{alice.device_id}", {"display_name": "x"})
    await bob.refused(404, "M_NOT_FOUND", "PUT", f"devices/{alice.device_id}", {})
    assert "display_name" not in await alice.get(f"devices/{alice.device_id}")


async def test_a_device_is_renamed(hospital: Hospital) -> None:
    alice = await hospital.person()
    path = f"devices/{alice.device_id}"
    assert await alice.put(path, {"display_name": "Ward 3"}) == {}
    assert (await alice.get(path))["display_name"] == "Ward 3"
    assert await alice.put(path, {}) == {}
    assert (await alice.get(path))["display_name"] == "Ward 3"
    await alice.refused(400, "M_INVALID_PARAM", "PUT", path, {"display_name": "x" * 101})
    await alice.refused(400, "M_BAD_JSON", "PUT", path, {"display_name": 1})


async def test_removing_a_device_takes_the_password(hospital: Hospital) -> None:
    alice = await hospital.person()
    there = await log_in(alice, "TABLET")
    challenge = await alice.expect(401, "DELETE", "devices/TABLET", {})
    assert challenge["flows"] == [{"stages": ["m.login.password"]}]
    wrong = auth_of(alice, session=challenge["session"], password="wrong")
    assert (await alice.expect(401, "DELETE", "devices/TABLET", wrong))["errcode"] == "M_FORBIDDEN"
    assert set(await device_ids(alice)) == {alice.device_id, "TABLET"}
    await alice.expect(200, "DELETE", "devices/TABLET", auth_of(alice, session=challenge["session"]))
    assert await device_ids(alice) == [alice.device_id]
    await there.refused(401, "M_UNKNOWN_TOKEN", "GET", "devices")
    await alice.expect(200, "DELETE", "devices/TABLET", auth_of(alice))  # it had been removed previously


async def test_authentication_for_one_device_does_not_do_for_another(hospital: Hospital) -> None:
    alice = await hospital.person()
    await log_in(alice, "A")
    await log_in(alice, "B")
    challenge = await alice.expect(401, "DELETE", "devices/A", {})
    body = auth_of(alice, session=challenge["session"])
    await alice.refused(403, "M_FORBIDDEN", "DELETE", "devices/B", body)
    await alice.refused(403, "M_FORBIDDEN", "POST", "delete_devices", {"devices": ["A", "B"], **body})
    assert len(await device_ids(alice)) == 3


async def test_the_password_must_be_that_of_the_device_owner(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    answer = await alice.expect(401, "DELETE", f"devices/{alice.device_id}", auth_of(bob))
    assert answer["errcode"] == "M_FORBIDDEN"
    await bob.expect(200, "DELETE", f"devices/{alice.device_id}", auth_of(bob))
    assert await device_ids(alice) == [alice.device_id]


async def test_several_devices_are_removed_at_once(hospital: Hospital) -> None:
    alice = await hospital.person()
    for device_id in ("A", "B", "C"):
        await log_in(alice, device_id)
    body = {"devices": ["A", "C", "NOPE"], **auth_of(alice)}
    assert await alice.post("delete_devices", body) == {}
    assert set(await device_ids(alice)) == {alice.device_id, "B"}
    await alice.refused(400, "M_MISSING_PARAM", "POST", "delete_devices", auth_of(alice))
    too_many = {"devices": [str(number) for number in range(1_001)], **auth_of(alice)}
    await alice.refused(413, "M_TOO_LARGE", "POST", "delete_devices", too_many)


async def remove(person: Person, how: str) -> None:
    """End the person's session in one of the ways there are."""
    if how == "delete":
        await person.expect(200, "DELETE", f"devices/{person.device_id}", auth_of(person))
    elif how == "password":
        elsewhere = await log_in(person, "OTHER")
        await elsewhere.post("account/password", {"new_password": "another password", **auth_of(person)})
    elif how == "deactivate":
        await person.post("account/deactivate", auth_of(person))
    else:
        await person.post(how)


@pytest.mark.parametrize("how", ["delete", "logout", "logout/all", "password", "deactivate"])
async def test_with_a_device_its_keys_and_messages_go(hospital: Hospital, how: str) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    identity = DeviceIdentity(alice)
    keys = {"device_keys": identity.device_keys, "one_time_keys": identity.one_time_keys("A")}
    await alice.post("keys/upload", keys | {"fallback_keys": identity.one_time_keys("F")})
    await bob.put("sendToDevice/m.test/1", {"messages": {alice.user_id: {alice.device_id: {"a": 1}}}})
    await remove(alice, how)
    wanted = {alice.user_id: {alice.device_id: "signed_curve25519"}}
    assert (await bob.post("keys/claim", {"one_time_keys": wanted}))["one_time_keys"] == {}
    answer = await bob.post("keys/query", {"device_keys": {alice.user_id: []}})
    assert answer["device_keys"] == {alice.user_id: {}}


async def test_a_device_id_must_not_be_the_public_part_of_a_key(hospital: Hospital) -> None:
    alice = await hospital.person()
    keys = CrossSigning(alice.user_id)
    await alice.post("keys/device_signing/upload", keys.upload)
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": alice.user_id}}
    body |= {"password": PASSWORD, "device_id": keys.id_of("master")}
    await alice.refused(400, "M_INVALID_PARAM", "POST", f"{CLIENT}/login", body)
