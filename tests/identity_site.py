"""Two hospitals and identity servers, for tests of inviting by an address."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hospitals import NetworkedHospital, run_hospitals
from tests.identity_server import TOKEN, IdentityServer, run_identity_server
from tests.people import Person

ADDRESS = "bob.patient@hospital.example"
THIRD_PARTY = "m.room.third_party_invite"


@dataclass(repr=False)
class IdentitySite:
    """Two hospitals, of which `a` may ask the identity server `id.example`; `elsewhere` is one that it may not ask."""

    a: NetworkedHospital
    b: NetworkedHospital
    identity: IdentityServer
    elsewhere: IdentityServer


@asynccontextmanager
async def run_identity_site(dsns: Sequence[str], folder: Path) -> AsyncIterator[IdentitySite]:
    """The site on two databases; `away.example` may be asked, and is not there."""
    others = ["id.example", "elsewhere.example", "away.example"]
    options = {"a.example": {"federation": {"identity_servers": ["ID.example", "away.example"]}}}
    async with (
        run_hospitals(["a.example", "b.example"], dsns, folder, others=others, options=options) as (network, (a, b)),
        run_identity_server(network, "id.example") as identity,
        run_identity_server(network, "elsewhere.example") as elsewhere,
    ):
        yield IdentitySite(a, b, identity, elsewhere)


def invite_of(address: str = ADDRESS, **changes: Any) -> dict[str, Any]:
    invite = {"id_server": "id.example", "id_access_token": TOKEN, "medium": "email", "address": address}
    return {key: value for key, value in {**invite, **changes}.items() if value is not None}


async def state(person: Person, room_id: str, event_type: str) -> dict[str, dict[str, Any]]:
    """The contents of the room's state of a type, by state key."""
    events = await person.get(f"rooms/{room_id}/state")
    return {event["state_key"]: event["content"] for event in events if event["type"] == event_type}
