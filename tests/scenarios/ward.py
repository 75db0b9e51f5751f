"""A ward: rooms of several versions, somebody in every relation to them, and whether anything there has changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.people import PASSWORD, Hospital, Person, run_hospital
from tests.table_dump import Tables, open_tables

EXPIRY_MS = 1_000
ROOM_VERSIONS = ("5", "9", "10", "11", "12")


@dataclass(frozen=True, kw_only=True)
class Ward:
    """`people` by name; `names` is what the paths and bodies of requests may name in braces."""

    tables: Tables
    hospital: Hospital
    people: dict[str, Person]
    names: dict[str, str]

    async def answer(self, who: str, request: str, body: Any, **more_names: str) -> tuple[int, Any]:
        """Status and JSON of the answer to `METHOD path`."""
        names = self.names | more_names
        method, path = request.split(" ", 1)
        for name, value in names.items():
            path = path.replace(f"{{{name}}}", quote(value))
        return await self.people[who].request(method, path, _filled(body, names))

    async def refuses(self, who: str, request: str, body: Any, expected: str) -> dict[str, Any]:
        """The answer to `METHOD path`, which must be `status errcode`."""
        status, answer = await self.answer(who, request, body)
        assert f"{status} {answer.get('errcode')}" == expected, (who, request, answer)
        assert isinstance(answer["error"], str)
        return dict(answer)

    async def refuses_and_keeps(self, who: str, request: str, body: Any, expected: str) -> dict[str, Any]:
        """As `refuses`, and nothing may have changed."""
        async with self.tables.unchanged():
            return await self.refuses(who, request, body, expected)


def _filled(template: Any, names: dict[str, str]) -> Any:
    """The template with `{room}` and the like replaced, in strings anywhere within."""
    if isinstance(template, str):
        for name, value in names.items():
            template = template.replace(f"{{{name}}}", value)
        return template
    if isinstance(template, dict):
        return {_filled(key, names): _filled(value, names) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(item, names) for item in template]
    return template


@asynccontextmanager
async def run_ward(dsn: str, folder: Path) -> AsyncIterator[Ward]:
    """The server and everybody on it."""
    tokens = {"refreshable_lifetime_ms": EXPIRY_MS}
    async with run_hospital(dsn, folder, tokens=tokens) as hospital, open_tables(dsn) as tables:
        people = {name: await hospital.person(name) for name in ("alice", "bob", "mallory", "stranger", "left", "half")}
        people |= await _people_with_bad_tokens(hospital)
        names = {name: person.user_id for name, person in people.items()}
        for version in ROOM_VERSIONS:
            names |= await _make_room(people, version)
        names |= {"room": names["v12"], "message": names["message12"]}
        alice = people["alice"]
        names["other_room"] = await alice.create_room(preset="private_chat", room_alias_name="other")
        yield Ward(tables=tables, hospital=hospital, people=people, names=names)


async def _make_room(people: dict[str, Person], version: str) -> dict[str, str]:
    """Alice made it, Bob is there without power, Half with half of it, which is enough for changing power levels;
    Mallory is banned, Left has left, Stranger never came."""
    alice = people["alice"]
    levels: dict[str, Any] = {
        "events": {"m.room.power_levels": 50, "m.room.server_acl": 100},
        "users": {people["half"].user_id: 50},
    }
    if version != "12":
        levels["users"][alice.user_id] = 100
    room_id = await alice.create_room(
        room_version=version,
        preset="public_chat",
        room_alias_name=f"ward{version}",
        power_level_content_override=levels,
    )
    for name in ("bob", "mallory", "left", "half"):
        await people[name].join(room_id)
    await people["left"].leave(room_id)
    await alice.post(f"rooms/{room_id}/ban", {"user_id": people["mallory"].user_id})
    closed = {"join_rule": "invite"}
    await alice.set_state(room_id, "m.room.join_rules", closed)
    message = await alice.say(room_id, "The rounds begin at eight")
    return {f"v{version}": room_id, f"message{version}": message}


async def _people_with_bad_tokens(hospital: Hospital) -> dict[str, Person]:
    """People whose tokens are missing, unknown, expired, or revoked."""
    login = {"type": "m.login.password", "password": PASSWORD, "refresh_token": True}
    visitor = await hospital.person("visitor")
    answer = await visitor.post("login", login | {"identifier": {"type": "m.id.user", "user": "visitor"}})
    revoked = await hospital.person("revoked")
    await revoked.post("logout")
    await asyncio.sleep(EXPIRY_MS / 1000)
    return {
        "nobody": replace(visitor, token=""),
        "foreign": replace(visitor, token="syt_Zm9yZWlnbg_abcdefghijklmnop_1234"),
        "expired": replace(visitor, token=answer["access_token"]),
        "revoked": revoked,
        "long": replace(visitor, token="x" * 5_000),
        "binary": replace(visitor, token="tök'en\"; --"),
    }
