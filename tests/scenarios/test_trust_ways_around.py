"""The ways around the trust gate, each refused, and nothing leaves for the server that is not listed.

Add a line to `CLIENT_WAYS` for an endpoint that names other servers; those for servers are taken from the routes.
"""

import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.circle_of_trust import CircleOfTrust, run_circle
from tests.eventually import eventually
from tests.packets import Packets, recorded_packets
from tests.peer import Peer, run_peer
from tests.people import Person
from tests.shared_rooms import push, share_room
from tests.table_dump import open_tables
from tim_server.federation_api.routes import ROUTES
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.trust_decisions import DecisionFilter
from tim_server.web.route import Auth, Route

STRANGER = "stranger.example"
NURSE = f"@nurse:{STRANGER}"
ROOM = f"!room:{STRANGER}"
ELSEWHERE = quote("!" + 43 * "A")
"""A room whose id names no server."""
ALIAS = f"#ward:{STRANGER}"


@dataclass
class Site:
    """A hospital with a user who has a room, a listed peer, and a stranger that is not listed but could be reached."""

    circle: CircleOfTrust
    packets: Packets
    peer: Peer
    stranger: Peer
    alice: Person
    room_id: str

    def assert_nothing_left(self) -> None:
        """Nothing was looked up about the stranger, no connection was made to it."""
        self.packets.assert_none_for(STRANGER, self.circle.network.ports[STRANGER])
        assert self.stranger.requests == []


@pytest.fixture(scope="module")
def packets() -> Iterator[Packets]:
    with recorded_packets() as packets:
        yield packets


@pytest.fixture(scope="module")
async def site(
    packets: Packets,
    make_tenant_dsn: Callable[[], Awaitable[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Site]:
    folder, others = tmp_path_factory.mktemp("circle"), ["peer.example", STRANGER]
    async with (
        run_circle(["a.example"], [await make_tenant_dsn()], folder, others=others) as circle,
        run_peer(circle.network, "peer.example") as peer,
        run_peer(circle.network, STRANGER) as stranger,
    ):
        circle.directory.publish("a.example", "peer.example")
        await circle.refresh()
        alice = await circle.hospitals[0].person("alice")
        yield Site(circle, packets, peer, stranger, alice, await alice.create_room())


Way = tuple[str, str, Any]
"""Method, path and body; `{room}` stands for the id of a room of Alice's."""

INVITED = {"membership": "invite"}
INVITED_ADDRESS = {"id_server": STRANGER, "id_access_token": "t", "medium": "email", "address": "nurse@x.example"}
CLIENT_WAYS: dict[str, Way] = {
    "an invite": ("POST", "rooms/{room}/invite", {"user_id": NURSE}),
    "an invite as state": ("PUT", f"rooms/{{room}}/state/m.room.member/{NURSE}", INVITED),
    "an invite with a new room": ("POST", "createRoom", {"invite": [NURSE]}),
    "an invite among the initial state": (
        "POST",
        "createRoom",
        {"initial_state": [{"type": "m.room.member", "state_key": NURSE, "content": INVITED}]},
    ),
    "a creator of a new room": ("POST", "createRoom", {"creation_content": {"additional_creators": [NURSE]}}),
    "a creator of an upgraded room": (
        "POST",
        "rooms/{room}/upgrade",
        {"new_version": "12", "additional_creators": [NURSE]},
    ),
    "an identity server that vouches for somebody": (
        "PUT",
        "rooms/{room}/state/m.room.third_party_invite/token",
        {"display_name": "n", "public_key": "k", "key_validity_url": f"https://{STRANGER}/isvalid"},
    ),
    "an invite by an address": ("POST", "rooms/{room}/invite", INVITED_ADDRESS),
    "an invite by an address with a new room": ("POST", "createRoom", {"invite_3pid": [INVITED_ADDRESS]}),
    "joining through it": ("POST", f"join/{ELSEWHERE}?via={STRANGER}", {}),
    "joining a room of its": ("POST", f"join/{quote(ROOM)}?server_name={STRANGER}", {}),
    "joining by its alias": ("POST", f"join/{quote(ALIAS)}", {}),
    "knocking through it": ("POST", f"knock/{ELSEWHERE}?via={STRANGER}", {}),
    "knocking by its alias": ("POST", f"knock/{quote(ALIAS)}", {}),
    "a profile": ("GET", f"profile/{NURSE}", None),
    "a field of a profile": ("GET", f"profile/{NURSE}/displayname", None),
    "a summary of a room of its": ("GET", f"/_matrix/client/v1/room_summary/{quote(ROOM)}", None),
    "a summary through it": ("GET", f"/_matrix/client/v1/room_summary/{ELSEWHERE}?via={STRANGER}", None),
    "a summary by its alias": ("GET", f"/_matrix/client/v1/room_summary/{quote(ALIAS)}", None),
    "an alias": ("GET", f"directory/room/{quote(ALIAS)}", None),
    "its public rooms": ("POST", f"publicRooms?server={STRANGER}", {}),
    "its public rooms, the older way": ("GET", f"publicRooms?server={STRANGER}", None),
    "a file": ("GET", f"/_matrix/client/v1/media/download/{STRANGER}/file", None),
    "a file under another name": ("GET", f"/_matrix/client/v1/media/download/{STRANGER}/file/name", None),
    "an image in another size": ("GET", f"/_matrix/client/v1/media/thumbnail/{STRANGER}/file?width=1&height=1", None),
    "a file, the older way": ("GET", f"/_matrix/media/v3/download/{STRANGER}/file", None),
    "a file under another name, the older way": ("GET", f"/_matrix/media/v3/download/{STRANGER}/file/name", None),
    "an image in another size, the older way": (
        "GET",
        f"/_matrix/media/v3/thumbnail/{STRANGER}/file?width=1&height=1",
        None,
    ),
    "messages to devices": ("PUT", "sendToDevice/m.test/{txn}", {"messages": {NURSE: {"*": {}}}}),
}
NOT_YET = {"knocking through it": 404, "knocking by its alias": 404}
"""What answers otherwise as long as nothing is asked of other servers there at all."""


@pytest.mark.parametrize("way", CLIENT_WAYS)
async def test_clients_find_no_way(site: Site, way: str) -> None:
    method, path, body = CLIENT_WAYS[way]
    path = path.replace("{room}", site.room_id).replace("{txn}", secrets.token_hex(8))
    status, answer = await site.alice.request(method, path, body)
    assert (status, answer["errcode"]) in ((403, "M_FORBIDDEN"), (NOT_YET.get(way), "M_NOT_FOUND")), answer
    site.assert_nothing_left()


async def test_an_identity_server_that_is_listed_is_asked_as_the_organisation_that_it_is(site: Site) -> None:
    lookup = "/_matrix/identity/v2/lookup"
    site.peer.answers["GET", "/_matrix/identity/v2/hash_details"] = {"lookup_pepper": "x", "algorithms": ["sha256"]}
    site.peer.answers["POST", lookup] = {"mappings": {}}
    invite = {**INVITED_ADDRESS, "id_server": "peer.example"}
    await site.alice.refused(502, "M_UNKNOWN", "POST", f"rooms/{site.room_id}/invite", invite)
    assert site.peer.asked(lookup)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("keys/query", {"device_keys": {NURSE: []}}),
        ("keys/claim", {"one_time_keys": {NURSE: {"D": "signed_curve25519"}}}),
    ],
)
async def test_of_keys_the_refusal_is_a_failure_of_that_server(site: Site, path: str, body: Any) -> None:
    answer = await site.alice.post(path, body)
    assert answer["failures"][STRANGER]["errcode"] == "M_FORBIDDEN"
    site.assert_nothing_left()


def _filled(route: Route, site: Site) -> str:
    """The route's path with something for each of its parameters."""
    values = {
        "roomId": site.room_id,
        "eventId": "$event",
        "userId": NURSE if "make_" in route.path else site.alice.user_id,
        "txnId": "1",
        "queryType": "profile",
    }
    return re.sub(r"\{(\w+)\}", lambda name: quote(values.get(name[1], "x"), safe=""), route.path)


SERVER_ROUTES = [route for route in ROUTES if route.auth in (Auth.SERVER, Auth.SERVER_OR_STRANGER)]


@pytest.mark.parametrize("route", SERVER_ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_a_stranger_finds_no_way(site: Site, route: Route) -> None:
    body = None if route.method == "GET" else {}
    status, answer = await site.stranger.ask("a.example", route.method, _filled(route, site), body)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    site.assert_nothing_left()


@pytest.mark.parametrize("route", SERVER_ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_nobody_finds_a_way_without_saying_who_it_is(site: Site, route: Route) -> None:
    url = f"https://127.0.0.1:{site.circle.network.ports['a.example']}{_filled(route, site)}"
    headers = {"Host": "a.example"}
    async with site.stranger.session.request(
        route.method, url, json={}, headers=headers, server_hostname="a.example"
    ) as response:
        assert (response.status, (await response.json())["errcode"]) == (401, "M_UNAUTHORIZED")
    site.assert_nothing_left()


@pytest.mark.parametrize("name", ["Stranger.EXAMPLE", "stranger.example:443", "a.example.stranger.example"])
async def test_a_stranger_finds_no_way_by_another_spelling_of_its_name(site: Site, name: str) -> None:
    status, answer = await site.stranger.ask("a.example", "GET", "/_matrix/federation/v1/version", origin=name)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    site.assert_nothing_left()


async def test_a_stranger_that_says_to_be_a_member_is_not_believed(site: Site) -> None:
    version = "/_matrix/federation/v1/version"
    status, answer = await site.stranger.ask("a.example", "GET", version, origin="peer.example", key_id="ed25519:x")
    assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")
    site.assert_nothing_left()


async def test_what_a_member_asked_another_one_for_cannot_be_handed_on(site: Site) -> None:
    """A request that does not say whom it is for could be for anybody."""
    version = "/_matrix/federation/v1/version"
    assert (await site.peer.ask("a.example", "GET", version))[0] == 200
    for destination in (None, "b.example"):
        status, answer = await site.peer.ask("a.example", "GET", version, destination=destination)
        assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")


async def test_a_notary_tells_no_keys_of_a_stranger(site: Site) -> None:
    for asking in (site.stranger, site.peer):
        status, answer = await asking.ask("a.example", "GET", f"/_matrix/key/v2/query/{STRANGER}")
        assert (status, answer["server_keys"]) == (200, [])
        query = {"server_keys": {STRANGER: {}}}
        status, answer = await asking.ask("a.example", "POST", "/_matrix/key/v2/query", query)
        assert (status, answer["server_keys"]) == (200, [])
    site.assert_nothing_left()


async def test_events_of_strangers_that_a_member_hands_on_are_refused(site: Site) -> None:
    room = await share_room(site.circle.hospitals[0], site.peer)
    fork = await room.fork_here(author=site.stranger.author, user_id=UserId(NURSE))
    join = fork.make("m.room.member", {"membership": "join"}, state_key=NURSE)
    answer = await push(site.peer, "a.example", join)
    assert "error" in answer[join.event_id]
    assert join.event_id not in await room.seen()
    assert await room.state("m.room.member", NURSE) is None
    site.assert_nothing_left()


async def test_events_of_members_that_stand_on_those_of_strangers_are_taken_in(site: Site) -> None:
    """What the stranger sent is not: the room goes on as if it had not been."""
    room = await share_room(site.circle.hospitals[0], site.peer)
    stranger = await room.fork_here(author=site.stranger.author, user_id=UserId(NURSE))
    state = [event.event_id for event in stranger.state.values()]
    join = stranger.make("m.room.member", {"membership": "join"}, state_key=NURSE)
    room.fork.prev, room.fork.depth = (join.event_id,), join.depth
    message = room.message("did you hear that?")
    v1 = "/_matrix/federation/v1"
    site.peer.answers["POST", f"{v1}/get_missing_events/{room.room_id}"] = {"events": [join.pdu]}
    site.peer.answers["GET", f"{v1}/state_ids/{room.room_id}"] = {"pdu_ids": state, "auth_chain_ids": state}
    site.peer.answers["GET", f"{v1}/event/{join.event_id}"] = {"pdus": [join.pdu]}
    answer = await push(site.peer, "a.example", join, message)
    assert "error" in answer[join.event_id] and answer[message.event_id] == {}
    await eventually(room.seen, lambda seen: message.event_id in seen)
    assert join.event_id not in await room.seen()
    assert await room.state("m.room.member", NURSE) is None
    site.assert_nothing_left()


@pytest.mark.parametrize(
    "edu",
    [
        {"edu_type": "m.typing", "content": {"user_id": NURSE, "typing": True, "room_id": "{room}"}},
        {"edu_type": "m.presence", "content": {"push": [{"user_id": NURSE, "presence": "online"}]}},
        {
            "edu_type": "m.direct_to_device",
            "content": {"sender": NURSE, "type": "m.x", "message_id": "1", "messages": {"{alice}": {"*": {}}}},
        },
        {"edu_type": "m.device_list_update", "content": {"user_id": NURSE, "device_id": "D", "stream_id": 1}},
    ],
    ids=lambda edu: edu["edu_type"],
)
async def test_edus_of_strangers_that_a_member_hands_on_change_nothing(site: Site, edu: Any) -> None:
    dsn = site.circle.hospitals[0].process.homeservers[0].store.database.options.dsn
    text = json.dumps(edu).replace("{room}", site.room_id).replace("{alice}", site.alice.user_id)
    async with open_tables(dsn) as tables:
        before = {row for table, row in await tables.dump() if NURSE in row and table != "received_transactions"}
        await push(site.peer, "a.example", edus=[json.loads(text)])
        after = {row for table, row in await tables.dump() if NURSE in row and table != "received_transactions"}
    assert after == before
    site.assert_nothing_left()


async def test_each_refusal_is_written_down_with_its_place(site: Site) -> None:
    review = site.circle.hospitals[0].process.homeservers[0].homeserver.trust_review
    await site.alice.request("GET", f"profile/{NURSE}")
    await site.alice.request("POST", f"rooms/{site.room_id}/invite", {"user_id": NURSE})
    await site.alice.request(*CLIENT_WAYS["a creator of a new room"])
    await site.stranger.ask("a.example", "GET", "/_matrix/federation/v1/version")

    async def points() -> set[str]:
        page = await review.decisions(DecisionFilter(server_name=ServerName(STRANGER)), limit=100)
        assert not any(decision.is_allowed for _, decision in page.decisions)
        return {decision.point for _, decision in page.decisions}

    expected = {"client request", "invite or join", "event creation", "incoming federation"}
    await eventually(points, lambda found: expected <= found)
