"""What a suspended account may still do to rooms.

Spec: https://spec.matrix.org/v1.19/client-server-api/#account-suspension
"""

from urllib.parse import quote

import asyncpg

from tests.people import PASSWORD, Hospital, Person


async def suspended_person(hospital: Hospital, dsn: str, room_id: str, alice: Person) -> tuple[Person, str]:
    """A member of Alice's room who has said something and was then suspended; and what they said."""
    bob = await hospital.person()
    await bob.join(room_id)
    event_id = await bob.say(room_id, "before the suspension")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("UPDATE users SET suspended_ts = 1 WHERE user_id = $1", bob.user_id)
    finally:
        await connection.close()
    answer = await alice.post(
        "login",
        {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": bob.user_id},
            "password": PASSWORD,
        },
    )
    return Person(bob.session, bob.user_id, answer["access_token"], answer["device_id"]), event_id


async def test_suspended_account_reads_leaves_and_redacts_only(hospital: Hospital, tenant_dsn: str) -> None:
    alice = await hospital.person()
    room_id, other = await alice.create_room(), await alice.create_room()
    bob, event_id = await suspended_person(hospital, tenant_dsn, room_id, alice)
    text = {"msgtype": "m.text", "body": "x"}
    hers = await alice.say(room_id, "Hello")
    alias = f"#{room_id[1:9].lower()}:{alice.user_id.partition(':')[2]}"
    await alice.put(f"directory/room/{quote(alias)}", {"room_id": room_id})
    target = {"user_id": alice.user_id}
    for method, path, body in (
        ("PUT", f"rooms/{room_id}/send/m.room.message/1", text),
        ("PUT", f"rooms/{room_id}/state/m.room.name/", {"name": "x"}),
        ("PUT", f"rooms/{room_id}/redact/{hers}/1", {}),
        ("POST", f"rooms/{other}/join", {}),
        ("POST", f"knock/{other}", {}),
        ("POST", f"rooms/{room_id}/invite", target),
        ("POST", f"rooms/{room_id}/kick", target),
        ("POST", f"rooms/{room_id}/ban", target),
        ("POST", "createRoom", {}),
        ("DELETE", f"directory/room/{quote(alias)}", {}),
    ):
        await bob.refused(403, "M_USER_SUSPENDED", method, path, body)
    assert "Hello" in await bob.bodies(room_id)
    await bob.put(f"rooms/{room_id}/redact/{event_id}/1", {})
    assert (await alice.event(room_id, event_id))["content"] == {}
    await bob.leave(room_id)
