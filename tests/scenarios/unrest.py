"""People of several hospitals who all want something else of the same room, by the fall of the dice."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.people import Person

REFUSALS = {400, 403, 404, 502}
"""What may become of an act: it is not allowed, or needs a server that is out of reach."""
LEVELS = (0, 25, 50, 75, 75)


@dataclass(repr=False)
class Unrest:
    """`staff` are people who may come and go and be made or unmade by others; `chiefs`, one at each hospital, are
    always in the room; the `named` ones have their power by the room's power levels. `visitors` are of a hospital that
    is in the room only while they are; they join through any of the others."""

    room_id: str
    chiefs: Sequence[Person]
    staff: Sequence[Person]
    dice: Random
    named: Sequence[Person] = ()
    visitors: Sequence[Person] = ()
    acts: int = 0
    refused: int = 0

    async def rage(self, sides: Sequence[Collection[str]], acts: int) -> None:
        """Have people of each side do so much, one after another, at the same time as those of the others."""
        await asyncio.gather(*(self._rage(side, acts, Random(self.dice.random())) for side in sides))

    async def _rage(self, side: Collection[str], acts: int, dice: Random) -> None:
        groups = [[p for p in group if server_of(p) in side] for group in (self.chiefs, self.staff, self.visitors)]
        present = [group for group in groups if group]
        for _ in range(acts):
            await self._act(dice.choice(dice.choice(present)), dice)

    async def _act(self, person: Person, dice: Random) -> None:
        method, path, body = self._choose(person, dice)
        status, answer = await person.request(method, path, body)
        self.acts += 1
        self.refused += status != 200
        assert status == 200 or status in REFUSALS, (method, path, status, answer)

    def _choose(self, person: Person, dice: Random) -> tuple[str, str, Any]:
        """What somebody does next."""
        other, number = dice.choice((*self.staff, *self.visitors)).user_id, dice.randrange(10**9)
        acts: list[tuple[str, str, Any]] = [
            ("PUT", f"send/m.room.message/{number}", {"msgtype": "m.text", "body": f"number {number}"}),
            ("PUT", f"send/m.room.message/{number}", {"msgtype": "m.text", "body": f"again {number}"}),
            ("PUT", "state/m.room.topic/", {"topic": f"topic {number}"}),
            ("PUT", f"state/org.example.bed/{dice.randrange(3)}", {"patient": number}),
            ("PUT", "state/m.room.power_levels/", self._levels(dice)),
            ("PUT", "state/m.room.join_rules/", {"join_rule": dice.choice(("public", "public", "invite"))}),
            ("POST", "ban", {"user_id": other}),
            ("POST", "unban", {"user_id": other}),
            ("POST", "kick", {"user_id": other}),
            ("POST", "invite", {"user_id": other}),
            ("POST", "join", {}),
        ]
        if person in self.staff:
            acts += [("POST", "leave", {}), ("POST", "join", {})]
        if person in self.visitors:
            join = ("POST", f"join?server_name={server_of(dice.choice(self.chiefs))}", {})
            acts = [*acts[:4], ("POST", "leave", {}), *[join] * 4]
        method, path, body = dice.choice(acts)
        return method, f"rooms/{self.room_id}/{path}", body

    def _levels(self, dice: Random) -> dict[str, Any]:
        """Power levels that leave the chiefs theirs."""
        return power_levels(self.named, {each.user_id: dice.choice(LEVELS) for each in self.staff})


def server_of(person: Person) -> str:
    """The name of somebody's server."""
    return person.user_id.partition(":")[2]


def power_levels(chiefs: Sequence[Person], others: dict[str, int]) -> dict[str, Any]:
    """The power levels of a room of the chiefs; since v12 its creator has no level in them."""
    levels = {chief.user_id: 100 for chief in chiefs}
    return {"users": levels | others, "events": {"m.room.power_levels": 75}, "ban": 50, "kick": 50, "invite": 0}
