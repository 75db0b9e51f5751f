"""Synapse and we find each other, and take each other's keys and signatures."""

import pytest

from tests.synapse.conftest import Pair

pytestmark = pytest.mark.external

VERSION = "/_matrix/federation/v1/version"


async def test_synapse_answers_our_signed_request(pair: Pair) -> None:
    client = pair.ours.process.homeservers[0].federation.client
    answer = await client.get(pair.synapse.name, VERSION)  # type: ignore[arg-type]
    assert answer["server"]["name"] == "Synapse"


async def test_we_answer_what_synapse_has_signed(pair: Pair) -> None:
    bob = await pair.theirs.person()
    # Our users are not asked for there unless Synapse has authenticated itself here.
    status, answer = await bob.request("GET", f"profile/@nobody:{pair.ours.name}/displayname")
    assert status in (200, 404), answer
