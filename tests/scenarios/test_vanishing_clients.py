"""Clients that disconnect while they send: their event is wholly there or not at all, and nobody else is harmed."""

import asyncio
import enum
import json
import socket
import struct

import pytest

from tests.people import CLIENT, Hospital, Person

RESET = struct.pack("ii", 1, 0)


class Leave(enum.Enum):
    """How much of its request the client sends before it is gone."""

    WITHOUT_A_WORD = 0.0
    IN_THE_HEADERS = 0.1
    IN_THE_BODY = 0.8
    BEFORE_THE_LAST_BYTE = 0.999
    BEFORE_THE_ANSWER = 1.0

    @property
    def is_complete(self) -> bool:
        return self is Leave.BEFORE_THE_ANSWER


def request_of(person: Person, room_id: str, txn_id: str) -> bytes:
    """A send as it stands on the wire; its body is more than half of it."""
    body = json.dumps({"msgtype": "m.text", "body": txn_id, "org.example.padding": "x" * 2000}).encode()
    head = (
        f"PUT {CLIENT}/rooms/{room_id}/send/m.room.message/{txn_id} HTTP/1.1\r\n"
        f"Host: hospital.example\r\nAuthorization: Bearer {person.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def vanish(hospital: Hospital, request: bytes, leave: Leave, *, abruptly: bool) -> None:
    """Send as much of the request, then close the connection: with a reset, or in order."""
    sock = socket.create_connection(hospital.address)
    if abruptly:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.sendall(request[: int(len(request) * leave.value)])
    if not leave.is_complete:
        await asyncio.sleep(0.01)  # the server has begun to read
    sock.close()


async def bodies(person: Person, room_id: str) -> list[str]:
    """The texts of all messages of the room."""
    return await person.bodies(room_id, limit=1000)


@pytest.mark.parametrize("abruptly", [False, True], ids=["in order", "with a reset"])
@pytest.mark.parametrize("leave", list(Leave))
async def test_a_client_that_vanishes_harms_no_one(hospital: Hospital, leave: Leave, abruptly: bool) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    lost = [f"lost{number}" for number in range(10)]
    told = await asyncio.gather(
        *(bob.send(room_id, txn_id=f"good{number}") for number in range(20)),
        *(vanish(hospital, request_of(alice, room_id, txn_id), leave, abruptly=abruptly) for txn_id in lost),
    )
    good = set(told[:20])
    assert len(good) == 20
    page = await bob.history(room_id, limit=1000)
    assert good <= {event["event_id"] for event in page["chunk"]}
    there = [body for body in await bodies(bob, room_id) if body in lost]
    assert len(set(there)) == len(there)
    if not leave.is_complete:
        assert not there
    await bob.say(room_id, "after")


async def test_a_request_that_was_complete_may_be_repeated(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    for number in range(20):
        txn_id = f"txn{number}"
        await vanish(hospital, request_of(alice, room_id, txn_id), Leave.BEFORE_THE_ANSWER, abruptly=number % 2 == 0)
        content = {"msgtype": "m.text", "body": txn_id, "org.example.padding": "x" * 2000}
        event_id = await alice.send(room_id, content, txn_id=txn_id)
        assert event_id == await alice.send(room_id, content, txn_id=txn_id)
    assert sorted(await bodies(alice, room_id)) == sorted(f"txn{number}" for number in range(20))


async def test_what_was_sent_in_order_is_carried_out_though_nobody_waits_for_the_answer(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    for number in range(5):
        await vanish(hospital, request_of(alice, room_id, f"txn{number}"), Leave.BEFORE_THE_ANSWER, abruptly=False)
    async with asyncio.timeout(5):
        while len(await bodies(alice, room_id)) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_second_request_in_the_pipe_is_lost_with_its_connection(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    first, second = request_of(alice, room_id, "first"), request_of(alice, room_id, "second")
    reader, writer = await asyncio.open_connection(*hospital.address)
    writer.write(first + second[: len(second) // 2])
    assert b"200 OK" in await reader.readline()
    writer.close()
    assert await bodies(alice, room_id) == ["first"]


async def test_syncs_that_vanish_leave_others_waiting_in_peace(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    since = (await bob.get("sync"))["next_batch"]
    head = f"GET {CLIENT}/sync?timeout=30000&since={since} HTTP/1.1\r\nHost: hospital.example\r\n"
    request = f"{head}Authorization: Bearer {bob.token}\r\n\r\n".encode()
    waiting = asyncio.ensure_future(bob.get("sync", since=since, timeout=30_000))
    for number in range(30):
        await vanish(hospital, request, Leave.BEFORE_THE_ANSWER, abruptly=number % 2 == 0)
    event_id = await alice.say(room_id, "hello")
    async with asyncio.timeout(5):
        answer = await waiting
    (event,) = answer["rooms"]["join"][room_id]["timeline"]["events"]
    assert event["event_id"] == event_id
