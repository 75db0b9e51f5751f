"""Letting users of other servers into a room: what a peer must say, what it is told, and what it is refused.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Neighbourhood
from tests.peer import Peer, make_author
from tests.people import Person
from tim_server.federation.membership import Template
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.read import read_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import verify_event_signature
from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS
from tim_server.services.rooms.remote.member_template import check_template, member_event
from tim_server.storage.events import load_events_by_id

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
ALL_VERSIONS = "&".join(f"ver={version}" for version in ROOM_VERSIONS)
CAROL = UserId("@carol:peer.example")
MEMBER = "m.room.member"


@dataclass
class Joining:
    """A peer's user who joins a room of a hospital."""

    peer: Peer
    room_id: RoomId
    user_id: UserId = CAROL
    server: str = "a.example"

    async def make(self, query: str = ALL_VERSIONS, user_id: str = "") -> tuple[int, Any]:
        """What make_join answers."""
        path = f"{V1}/make_join/{quote(self.room_id, safe='')}/{quote(user_id or self.user_id, safe='')}?{query}"
        return await self.peer.ask(self.server, "GET", path)

    async def event(self, author: Author | None = None, **changes: Any) -> Event:
        """The join event on a template, by default as it should be."""
        status, answer = await self.make()
        assert status == 200, answer
        template = Template(room_version=answer["room_version"], event={**answer["event"]})
        checked = check_template(template, ServerName(self.server), self.room_id, self.user_id, "join")
        content = changes.pop("content", {"membership": "join"})
        return member_event(
            checked, self.user_id, content, author=author or self.peer.author, now_ms=1, unique=f"join{id(answer)}"
        )

    async def send(
        self, event: Event, query: str = "", *, api: str = V2, named: str = "", of_room: str = "", **changes: Any
    ) -> tuple[int, Any]:
        """What send_join answers; `changes` are made to the PDU after it was signed."""
        path = f"{quote(of_room or self.room_id, safe='')}/{quote(named or event.event_id, safe='')}"
        pdu = {**event.pdu, **changes}
        return await self.peer.ask(self.server, "PUT", f"{api}/send_join/{path}{query}", pdu)

    async def join(self, query: str = "", **changes: Any) -> tuple[Event, Any]:
        """The event, and the answer to a join that must succeed."""
        event = await self.event(**changes)
        status, answer = await self.send(event, query)
        assert status == 200, answer
        return event, answer


async def public_room(neighbourhood: Neighbourhood, **options: Any) -> tuple[Person, RoomId]:
    alice = await neighbourhood.a.person()
    return alice, RoomId(await alice.create_room(**options))


def restricted_by(*rooms: str) -> dict[str, Any]:
    allow = [{"type": "m.room_membership", "room_id": room_id} for room_id in rooms]
    return {"initial_state": [{"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}]}


def ids_of(pdus: list[dict[str, Any]], version: str) -> set[str]:
    return {read_pdu(pdu, ROOM_VERSIONS[version]).event_id for pdu in pdus}


@pytest.mark.parametrize("version", [*ROOM_VERSIONS])
async def test_a_user_of_the_peer_joins(neighbourhood: Neighbourhood, version: str) -> None:
    alice, room_id = await public_room(neighbourhood, room_version=version, name="Ward")
    event, answer = await Joining(neighbourhood.peer, room_id).join()
    state = await alice.get(f"rooms/{room_id}/state")
    before = {each["event_id"] for each in state} - {event.event_id}
    assert ids_of(answer["state"], version) == before
    chain = ids_of(answer["auth_chain"], version)
    assert set(event.auth_events) <= chain
    for pdu in (*answer["state"], *answer["auth_chain"]):
        assert set(read_pdu(pdu, ROOM_VERSIONS[version]).auth_events) <= chain
    assert read_pdu(answer["event"], ROOM_VERSIONS[version]).event_id == event.event_id
    assert "members_omitted" not in answer
    members = await alice.get(f"rooms/{room_id}/joined_members")
    assert members["joined"].keys() == {alice.user_id, CAROL}


async def test_the_first_version_of_the_operation_answers_a_pair(neighbourhood: Neighbourhood) -> None:
    _, room_id = await public_room(neighbourhood)
    joining = Joining(neighbourhood.peer, room_id)
    status, answer = await joining.send(await joining.event(), api=V1)
    assert status == 200 and answer[0] == 200
    assert {"state", "auth_chain", "origin"} <= answer[1].keys()


async def test_a_join_that_is_sent_again_is_answered_again(neighbourhood: Neighbourhood) -> None:
    alice, room_id = await public_room(neighbourhood)
    joining = Joining(neighbourhood.peer, room_id)
    event, first = await joining.join()
    await alice.say(room_id, "in between")
    status, second = await joining.send(event)
    assert status == 200 and second["state"] == first["state"]


async def test_other_servers_in_the_room_are_told_of_the_join(neighbourhood: Neighbourhood) -> None:
    _, room_id = await public_room(neighbourhood)
    bob = await neighbourhood.b.person()
    await bob.post(f"join/{quote(room_id)}?via=a.example")
    event, _ = await Joining(neighbourhood.peer, room_id).join()
    queues = neighbourhood.a.process.homeservers[0].homeserver.room_sender.queues
    async with queues.store.database.read() as tx:
        owed = await tx.fetch(
            "SELECT o.destination FROM federation_outbox AS o JOIN events AS e ON e.nid = o.event_nid "
            "WHERE e.event_id = $1",
            event.event_id,
        )
    assert [row["destination"] for row in owed] == ["b.example"]


async def test_what_was_redacted_is_told_in_redacted_form(neighbourhood: Neighbourhood) -> None:
    alice, room_id = await public_room(neighbourhood)
    topic = await alice.set_state(room_id, "m.room.topic", {"topic": "a secret"})
    await alice.put(f"rooms/{room_id}/redact/{topic}/1", {})
    _, answer = await Joining(neighbourhood.peer, room_id).join()
    (told,) = [pdu for pdu in answer["state"] if pdu["type"] == "m.room.topic"]
    assert told["content"] == {}


@pytest.mark.parametrize("named", [False, True])
async def test_members_are_left_out_where_that_is_asked_for(neighbourhood: Neighbourhood, named: bool) -> None:
    alice, room_id = await public_room(neighbourhood, **({"name": "Ward"} if named else {}))
    people = [await neighbourhood.a.person() for _ in range(7)]
    for person in people:
        await person.join(room_id)
    _, answer = await Joining(neighbourhood.peer, room_id).join("?omit_members=true")
    assert answer["members_omitted"] is True and answer["servers_in_room"] == ["a.example"]
    members = [pdu["state_key"] for pdu in answer["state"] if pdu["type"] == MEMBER]
    assert len(members) == (0 if named else 5) and set(members) <= {alice.user_id, *(p.user_id for p in people)}
    state, chain = ids_of(answer["state"], "12"), ids_of(answer["auth_chain"], "12")
    assert state.isdisjoint(chain)
    for pdu in (*answer["state"], *answer["auth_chain"]):
        assert set(read_pdu(pdu, ROOM_VERSIONS["12"]).auth_events) <= state | chain


async def test_a_room_of_a_version_that_the_peer_does_not_know_is_named(neighbourhood: Neighbourhood) -> None:
    _, room_id = await public_room(neighbourhood, room_version="11")
    for query in ("ver=9&ver=10", ""):
        status, answer = await Joining(neighbourhood.peer, room_id).make(query)
        assert (status, answer["errcode"]) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
        assert answer["room_version"] == "11"


async def test_a_room_that_is_not_here_is_not_found(neighbourhood: Neighbourhood) -> None:
    joining = Joining(neighbourhood.peer, RoomId("!nowhere:a.example"))
    assert (await joining.make())[0] == 404
    _, room_id = await public_room(neighbourhood)
    event = await Joining(neighbourhood.peer, room_id).event()
    assert (await joining.send(event))[0] == 404


async def test_a_user_of_another_server_gets_no_template(neighbourhood: Neighbourhood) -> None:
    _, room_id = await public_room(neighbourhood)
    status, answer = await Joining(neighbourhood.peer, room_id).make(user_id="@mallory:b.example")
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


async def test_who_is_not_invited_or_banned_is_refused(neighbourhood: Neighbourhood) -> None:
    alice, room_id = await public_room(neighbourhood, preset="private_chat")
    joining = Joining(neighbourhood.peer, room_id)
    assert (await joining.make())[0] == 403
    await alice.set_state(room_id, "m.room.join_rules", {"join_rule": "public"})
    event = await joining.event()
    await alice.set_state(room_id, MEMBER, {"membership": "ban"}, CAROL)
    assert (await joining.make())[0] == 403
    status, answer = await joining.send(event)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert (await alice.state(room_id, MEMBER, CAROL))["membership"] == "ban"


async def test_a_server_that_the_acl_denies_is_refused(neighbourhood: Neighbourhood) -> None:
    alice, room_id = await public_room(neighbourhood)
    joining = Joining(neighbourhood.peer, room_id)
    event = await joining.event()
    await alice.set_state(room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["peer.example"]})
    assert (await joining.make())[0] == 403
    assert (await joining.send(event))[0] == 403


async def test_of_a_join_that_the_room_does_not_allow_any_more_nothing_is_kept(neighbourhood: Neighbourhood) -> None:
    """Nobody else is told of it either, so nothing may ever stand on it; and it may be allowed again."""
    alice, room_id = await public_room(neighbourhood)
    joining = Joining(neighbourhood.peer, room_id)
    event = await joining.event()
    await alice.set_state(room_id, "m.room.join_rules", {"join_rule": "invite"})
    status, answer = await joining.send(event)
    assert (status, answer["error"]) == (403, "The room does not allow it")
    store = neighbourhood.a.process.homeservers[0].homeserver.room_sender.queues.store
    async with store.database.connection() as connection:
        assert not await load_events_by_id(connection, store.codec, [event.event_id])
    await alice.set_state(room_id, "m.room.join_rules", {"join_rule": "public"})
    assert (await joining.send(event))[0] == 200
    assert CAROL in (await alice.get(f"rooms/{room_id}/joined_members"))["joined"]


async def test_a_room_that_does_not_federate_lets_nobody_in(neighbourhood: Neighbourhood) -> None:
    _, room_id = await public_room(neighbourhood, creation_content={"m.federate": False})
    assert (await Joining(neighbourhood.peer, room_id).make())[0] == 403


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"type": "m.room.message"}, (400, "M_INVALID_PARAM")),
        ({"content": {"membership": "leave"}}, (400, "M_INVALID_PARAM")),
        ({"content": {"membership": "join", "displayname": "Mallory"}}, (403, "M_FORBIDDEN")),
        ({"state_key": "@dave:peer.example"}, (400, "M_INVALID_PARAM")),
        ({"sender": "@alice:a.example", "state_key": "@alice:a.example"}, (400, "M_INVALID_PARAM")),
        ({"room_id": "!other:a.example"}, (400, "M_INVALID_PARAM")),
        ({"prev_events": ["$unknown"]}, (400, "M_INVALID_PARAM")),
        ({"auth_events": "none"}, (400, "M_BAD_JSON")),
        ({"content": {"membership": "join", "weight": 71.5}}, (400, "M_BAD_JSON")),
        ({"signatures": {}}, (403, "M_FORBIDDEN")),
        ({"signatures": {"peer.example": {"ed25519:peer": "AAAA"}}}, (403, "M_FORBIDDEN")),
        ({"signatures": {"peer.example": {"ed25519:unknown": "AAAA"}}}, (403, "M_FORBIDDEN")),
        ({"hashes": {"sha256": "AAAA"}}, (400, "M_INVALID_PARAM")),
        ({"depth": -1}, (400, "M_BAD_JSON")),
    ],
)
async def test_what_is_no_join_of_the_origin_is_refused(
    neighbourhood: Neighbourhood, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    alice, room_id = await public_room(neighbourhood, room_version="11")
    joining = Joining(neighbourhood.peer, room_id)
    status, answer = await joining.send(await joining.event(), **changes)
    assert (status, answer["errcode"]) == expected
    assert (await alice.get(f"rooms/{room_id}/joined_members"))["joined"].keys() == {alice.user_id}


async def test_an_event_under_another_id_or_room_is_refused(neighbourhood: Neighbourhood) -> None:
    _, room_id = await public_room(neighbourhood)
    _, other = await public_room(neighbourhood)
    joining = Joining(neighbourhood.peer, room_id)
    event = await joining.event()
    for path in ({"named": "$other"}, {"of_room": other}):
        status, answer = await joining.send(event, **path)
        assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")


async def test_an_event_that_another_server_signed_is_refused(neighbourhood: Neighbourhood) -> None:
    _, room_id = await public_room(neighbourhood)
    joining = Joining(neighbourhood.peer, room_id)
    status, answer = await joining.send(await joining.event(make_author("peer.example", seed=99)))
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


async def test_an_event_that_refers_to_what_is_not_known_is_refused(neighbourhood: Neighbourhood) -> None:
    _, room_id = await public_room(neighbourhood, room_version="11")
    joining = Joining(neighbourhood.peer, room_id)
    _, answer = await joining.make()
    template = Template(room_version="11", event={**answer["event"], "prev_events": ["$nobody-knows"]})
    checked = check_template(template, ServerName("a.example"), room_id, CAROL, "join")
    event = member_event(checked, CAROL, {"membership": "join"}, author=joining.peer.author, now_ms=1, unique="x")
    status, told = await joining.send(event)
    assert (status, told["errcode"]) == (400, "M_INVALID_PARAM")


async def test_a_restricted_join_is_signed_by_the_server_that_authorises_it(neighbourhood: Neighbourhood) -> None:
    alice, staff = await public_room(neighbourhood)
    ward = RoomId(await alice.create_room(**restricted_by(staff), preset="private_chat"))
    joining = Joining(neighbourhood.peer, ward)
    status, answer = await joining.make()
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    await Joining(neighbourhood.peer, staff).join()
    event, answer = await joining.join()
    assert event.content["join_authorised_via_users_server"] == alice.user_id
    a = neighbourhood.a.process.homeservers[0].homeserver.key_publication.author
    verify_event_signature(answer["event"], event.room_version, "a.example", a.key.key_id, a.key.verify_key)
    assert (await alice.state(ward, MEMBER, CAROL))["membership"] == "join"


async def test_a_restricted_join_is_not_signed_for_who_does_not_fulfil_a_condition(
    neighbourhood: Neighbourhood,
) -> None:
    """Whoever knows an event that would be allowed need not have asked for a template."""
    alice, staff = await public_room(neighbourhood)
    ward = RoomId(await alice.create_room(**restricted_by(staff), preset="private_chat"))
    await Joining(neighbourhood.peer, staff).join()
    event = await Joining(neighbourhood.peer, ward).event()
    await alice.post(f"rooms/{staff}/kick", {"user_id": CAROL})
    status, answer = await Joining(neighbourhood.peer, ward).send(event)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert CAROL not in (await alice.get(f"rooms/{ward}/joined_members"))["joined"]


async def test_a_condition_that_this_server_can_not_check_is_told_as_such(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    ward = RoomId(await alice.create_room(**restricted_by("!elsewhere:b.example"), preset="private_chat"))
    status, answer = await Joining(neighbourhood.peer, ward).make()
    assert (status, answer["errcode"]) == (400, "M_UNABLE_TO_AUTHORISE_JOIN")


async def test_a_join_that_nobody_here_may_authorise_is_told_as_such(neighbourhood: Neighbourhood) -> None:
    alice, staff = await public_room(neighbourhood)
    await Joining(neighbourhood.peer, staff).join()
    ward = RoomId(
        await alice.create_room(
            **restricted_by(staff),
            preset="private_chat",
            room_version="11",
            power_level_content_override={"invite": 101},
        )
    )
    status, answer = await Joining(neighbourhood.peer, ward).make()
    assert (status, answer["errcode"]) == (400, "M_UNABLE_TO_GRANT_JOIN")


async def test_nobody_is_let_in_without_the_signature_of_who_is_said_to_authorise_it(
    neighbourhood: Neighbourhood,
) -> None:
    alice, staff = await public_room(neighbourhood)
    ward = RoomId(await alice.create_room(**restricted_by(staff), preset="private_chat"))
    await Joining(neighbourhood.peer, staff).join()
    joining = Joining(neighbourhood.peer, ward)
    _, answer = await joining.make()
    template = Template(room_version=answer["room_version"], event=answer["event"])
    template.event["content"]["join_authorised_via_users_server"] = "@admin:b.example"
    checked = check_template(template, ServerName("a.example"), ward, CAROL, "join")
    event = member_event(checked, CAROL, {"membership": "join"}, author=joining.peer.author, now_ms=1, unique="y")
    status, told = await joining.send(event)
    assert (status, told["errcode"]) == (403, "M_FORBIDDEN")
