"""The public directories of others, for clients; and ours, for others, where they are told."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.conftest import Neighbourhood
from tests.hospitals import NetworkedHospital, run_hospitals
from tests.peer import run_peer

PUBLIC_ROOMS = "/_matrix/federation/v1/publicRooms"


@pytest.fixture(scope="module")
async def talkative(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Neighbourhood]:
    """As `neighbourhood`, with an `a.example` that tells others which rooms it has."""
    dsns, folder = [await make_tenant_dsn(), await make_tenant_dsn()], tmp_path_factory.mktemp("talkative")
    options = {"a.example": {"rooms": {"directory_told_to_servers": True}}}
    names = ["a.example", "b.example"]
    async with (
        run_hospitals(names, dsns, folder, others=["peer.example"], options=options) as (network, (a, b)),
        run_peer(network, "peer.example") as peer,
    ):
        yield Neighbourhood(network, a, b, peer)


async def publish(hospital: NetworkedHospital, name: str) -> str:
    alice = await hospital.person()
    return await alice.create_room(name=name, visibility="public", preset="public_chat")


async def test_others_are_told_page_by_page_and_filtered(talkative: Neighbourhood) -> None:
    rooms = {await publish(talkative.a, f"Ward {number}") for number in range(3)}
    status, page = await talkative.peer.ask("a.example", "GET", f"{PUBLIC_ROOMS}?limit=2")
    assert (status, len(page["chunk"])) == (200, 2)
    _, last = await talkative.peer.ask("a.example", "GET", f"{PUBLIC_ROOMS}?limit=2&since={page['next_batch']}")
    assert {room["room_id"] for room in page["chunk"] + last["chunk"]} == rooms
    body = {"filter": {"generic_search_term": "ward 1"}}
    _, found = await talkative.peer.ask("a.example", "POST", PUBLIC_ROOMS, body)
    assert [room["name"] for room in found["chunk"]] == ["Ward 1"]


async def test_others_are_not_told_unless_the_operator_wants_it(talkative: Neighbourhood) -> None:
    for method, body in (("GET", None), ("POST", {})):
        status, answer = await talkative.peer.ask("b.example", method, PUBLIC_ROOMS, body)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


async def test_clients_read_the_directory_of_another_hospital(talkative: Neighbourhood) -> None:
    room_id = await publish(talkative.a, "Radiology")
    bob = await talkative.b.person()
    page = await bob.post("publicRooms", {"filter": {"generic_search_term": "radiology"}}, server="a.example")
    assert [room["room_id"] for room in page["chunk"]] == [room_id]
    alice = await talkative.a.person()
    await alice.refused(403, "M_FORBIDDEN", "GET", "publicRooms", server="b.example")


async def test_what_is_no_room_is_not_passed_on(talkative: Neighbourhood) -> None:
    bob = await talkative.b.person()
    room = {"room_id": "!r:peer.example", "num_joined_members": 1, "world_readable": False, "guest_can_join": False}
    answer = {"chunk": [room, {"room_id": "no id"}, 7, {**room, "num_joined_members": "many"}], "next_batch": 7}
    talkative.peer.answers["POST", PUBLIC_ROOMS] = answer
    page = await bob.get("publicRooms", server="peer.example")
    assert page == {"chunk": [room], "total_room_count_estimate": 1}
