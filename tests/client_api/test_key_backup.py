"""Key backups over real HTTP.

Spec: https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
"""

import asyncio
from typing import Any

import pytest

from tests.client_api.test_device_management import auth_of
from tests.people import Hospital, Person

VERSION, KEYS = "room_keys/version", "room_keys/keys"
ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
AUTH_DATA = {"public_key": "abc", "signatures": {"@a:b": {"ed25519:D": "x"}}}


def key(index: int = 0, forwarded: int = 0, *, verified: bool = False, data: Any = None) -> dict[str, Any]:
    """The key of a session."""
    return {
        "first_message_index": index,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"ciphertext": "x"} if data is None else data,
    }


async def begin(person: Person) -> str:
    """Begin a backup; its version."""
    return str((await person.post(VERSION, {"algorithm": ALGORITHM, "auth_data": AUTH_DATA}))["version"])


async def store(person: Person, version: str, body: Any, path: str = "") -> Any:
    return await person.expect(200, "PUT", KEYS + path, body, version=version)


async def test_a_backup_is_described(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.refused(404, "M_NOT_FOUND", "GET", VERSION)
    version = await begin(alice)
    info = await alice.get(VERSION)
    assert info == await alice.get(f"{VERSION}/{version}")
    assert {name: info[name] for name in ("algorithm", "auth_data", "version", "count")} == {
        "algorithm": ALGORITHM,
        "auth_data": AUTH_DATA,
        "version": version,
        "count": 0,
    }
    assert isinstance(info["etag"], str)


async def test_only_auth_data_of_a_backup_can_be_changed(hospital: Hospital) -> None:
    alice = await hospital.person()
    version = await begin(alice)
    path = f"{VERSION}/{version}"
    assert await alice.put(path, {"algorithm": ALGORITHM, "auth_data": {"x": 1}, "version": version}) == {}
    assert await alice.put(path, {"algorithm": ALGORITHM, "auth_data": {"x": 2}}) == {}
    assert (await alice.get(VERSION))["auth_data"] == {"x": 2}
    other = {"algorithm": "other", "auth_data": {}}
    await alice.refused(400, "M_INVALID_PARAM", "PUT", path, other)
    body = {"algorithm": ALGORITHM, "auth_data": {}, "version": "1"}
    await alice.refused(400, "M_INVALID_PARAM", "PUT", path, body)
    await alice.refused(404, "M_NOT_FOUND", "PUT", f"{VERSION}/1", {"algorithm": ALGORITHM, "auth_data": {}})


async def test_the_newest_backup_is_the_current_one_and_older_ones_follow(hospital: Hospital) -> None:
    alice = await hospital.person()
    versions = [await begin(alice) for _ in range(3)]
    assert len(set(versions)) == 3
    assert (await alice.get(VERSION))["version"] == versions[2]
    for _ in range(2):
        assert await alice.expect(200, "DELETE", f"{VERSION}/{versions[2]}") == {}
    assert (await alice.get(VERSION))["version"] == versions[1]
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{VERSION}/{versions[2]}")
    await alice.refused(404, "M_NOT_FOUND", "DELETE", f"{VERSION}/1")
    assert await begin(alice) not in versions


async def test_backups_that_are_begun_at_the_same_time_have_names_of_their_own(hospital: Hospital) -> None:
    alice = await hospital.person()
    assert len(set(await asyncio.gather(*(begin(alice) for _ in range(10))))) == 10


async def test_keys_are_stored_and_read_by_session_by_room_and_all(hospital: Hospital) -> None:
    alice = await hospital.person()
    version = await begin(alice)
    first = await store(alice, version, key(1), "/!a:b/s1")
    second = await store(alice, version, {"sessions": {"s2": key(2)}}, "/!a:b")
    third = await store(alice, version, {"rooms": {"!c:d": {"sessions": {"s3": key(3, data="opaque")}}}})
    assert [answer["count"] for answer in (first, second, third)] == [1, 2, 3]
    assert len({answer["etag"] for answer in (first, second, third)}) == 3
    sessions = {"s1": key(1), "s2": key(2)}
    assert await alice.get(f"{KEYS}/!a:b/s1", version=version) == key(1)
    assert await alice.get(f"{KEYS}/!a:b", version=version) == {"sessions": sessions}
    everything = {"rooms": {"!a:b": {"sessions": sessions}, "!c:d": {"sessions": {"s3": key(3, data="opaque")}}}}
    assert await alice.get(KEYS, version=version) == everything
    info = await alice.get(VERSION)
    assert (info["count"], info["etag"]) == (3, third["etag"])


async def test_what_is_not_there(hospital: Hospital) -> None:
    alice = await hospital.person()
    version = await begin(alice)
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{KEYS}/!a:b/s", version=version)
    assert await alice.get(f"{KEYS}/!a:b", version=version) == {"sessions": {}}
    assert await alice.get(KEYS, version=version) == {"rooms": {}}
    for method in ("GET", "DELETE"):
        for path in (KEYS, f"{KEYS}/!a:b", f"{KEYS}/!a:b/s"):
            for wrong in ("1", "x", "0", "9" * 30):
                await alice.refused(404, "M_NOT_FOUND", method, path, version=wrong)
            await alice.refused(400, "M_MISSING_PARAM", method, path)


@pytest.mark.parametrize(
    ("old", "new", "is_better"),
    [
        (key(5, 5), key(9, 9, verified=True), True),
        (key(9, 9, verified=True), key(0, 0), False),
        (key(5, 0), key(4, 9), True),
        (key(5, 9), key(6, 0), False),
        (key(5, 5), key(5, 4), True),
        (key(5, 5), key(5, 6), False),
        (key(5, 5), key(5, 5, data="other"), False),
    ],
)
async def test_a_key_is_replaced_only_by_a_better_one(hospital: Hospital, old: Any, new: Any, is_better: bool) -> None:
    alice = await hospital.person()
    version = await begin(alice)
    before = await store(alice, version, old, "/!a:b/s")
    after = await store(alice, version, new, "/!a:b/s")
    assert after["count"] == 1
    assert (after["etag"] != before["etag"]) == is_better
    assert await alice.get(f"{KEYS}/!a:b/s", version=version) == (new if is_better else old)


async def test_keys_go_into_the_current_backup_only(hospital: Hospital) -> None:
    alice = await hospital.person()
    path, body = f"{KEYS}/!a:b/s", key()
    await alice.refused(404, "M_NOT_FOUND", "PUT", path, body, version="1")
    old, current = await begin(alice), await begin(alice)
    for wrong in (old, "1", "x"):
        answer = await alice.expect(403, "PUT", path, body, version=wrong)
        assert (answer["errcode"], answer["current_version"]) == ("M_WRONG_ROOM_KEYS_VERSION", current)
    assert await alice.get(KEYS, version=old) == {"rooms": {}}
    await alice.expect(200, "DELETE", f"{VERSION}/{current}")
    assert (await store(alice, old, body, "/!a:b/s"))["count"] == 1


async def test_keys_are_deleted_by_session_by_room_and_all(hospital: Hospital) -> None:
    alice = await hospital.person()
    version = await begin(alice)
    rooms = {room: {"sessions": {name: key() for name in ("s1", "s2", "s3")}} for room in ("!a:b", "!c:d")}
    etags = {(await store(alice, version, {"rooms": rooms}))["etag"]}
    for path, left in ((f"{KEYS}/!a:b/s1", 5), (f"{KEYS}/!a:b", 3), (KEYS, 0)):
        answer = await alice.expect(200, "DELETE", path, version=version)
        assert answer["count"] == left
        assert answer["etag"] not in etags
        etags.add(answer["etag"])
        assert await alice.expect(200, "DELETE", path, version=version) == answer
    assert await alice.get(KEYS, version=version) == {"rooms": {}}


async def test_nobody_reads_the_backup_of_another(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    version = await begin(alice)
    await store(alice, version, key(), "/!a:b/s")
    await bob.refused(404, "M_NOT_FOUND", "GET", VERSION)
    await bob.refused(404, "M_NOT_FOUND", "GET", f"{VERSION}/{version}")
    await bob.refused(404, "M_NOT_FOUND", "GET", KEYS, version=version)
    await bob.refused(404, "M_NOT_FOUND", "DELETE", f"{VERSION}/{version}")
    await bob.refused(404, "M_NOT_FOUND", "DELETE", KEYS, version=version)
    assert (await alice.get(VERSION))["count"] == 1


async def test_deactivating_an_account_deletes_its_backups(hospital: Hospital) -> None:
    alice = await hospital.person()
    await begin(alice)
    await alice.post("account/deactivate", auth_of(alice))
    await alice.refused(401, "M_UNKNOWN_TOKEN", "GET", VERSION)


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({}, 400, "M_MISSING_PARAM"),
        ({**key(), "first_message_index": "1"}, 400, "M_BAD_JSON"),
        ({**key(), "first_message_index": -1}, 400, "M_INVALID_PARAM"),
        ({**key(), "forwarded_count": 2**60}, 400, "M_INVALID_PARAM"),
        ({**key(), "is_verified": 1}, 400, "M_BAD_JSON"),
        (key(data="x" * 17_000), 413, "M_TOO_LARGE"),
    ],
)
async def test_keys_that_are_refused(hospital: Hospital, body: Any, status: int, errcode: str) -> None:
    alice = await hospital.person()
    version = await begin(alice)
    await alice.refused(status, errcode, "PUT", f"{KEYS}/!a:b/s", body, version=version)
    rooms = {"rooms": {"!a:b": {"sessions": {"good": key(), "bad": body}}}}
    await alice.refused(status, errcode, "PUT", KEYS, rooms, version=version)
    long = {"sessions": {"x" * 256: key()}}
    await alice.refused(400, "M_INVALID_PARAM", "PUT", f"{KEYS}/!a:b", long, version=version)
    assert (await alice.get(VERSION))["count"] == 0


async def test_versions_that_are_refused(hospital: Hospital) -> None:
    alice = await hospital.person()
    for body, status, errcode in [
        ({"auth_data": {}}, 400, "M_MISSING_PARAM"),
        ({"algorithm": 1, "auth_data": {}}, 400, "M_BAD_JSON"),
        ({"algorithm": "", "auth_data": {}}, 400, "M_INVALID_PARAM"),
        ({"algorithm": ALGORITHM, "auth_data": "x" * 70_000}, 413, "M_TOO_LARGE"),
    ]:
        await alice.refused(status, errcode, "POST", VERSION, body)
    await asyncio.gather(*(begin(alice) for _ in range(100)))
    body = {"algorithm": ALGORITHM, "auth_data": AUTH_DATA}
    await alice.refused(413, "M_TOO_LARGE", "POST", VERSION, body)
