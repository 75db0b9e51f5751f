"""Synapse and we find each other, and take each other's keys and signatures."""

import pytest

from tests.synapse.conftest import Pair
from tim_server.federation.fetch_keys import fetch_from_notary
from tim_server.matrix.identifiers import ServerName

pytestmark = pytest.mark.external

VERSION = "/_matrix/federation/v1/version"


async def test_synapse_answers_our_signed_request(pair: Pair) -> None:
    client = pair.ours.process.homeservers[0].federation.client
    answer = await client.get(ServerName(pair.synapse.name), VERSION)
    assert answer["server"]["name"] == "Synapse"


async def test_we_answer_what_synapse_has_signed(pair: Pair) -> None:
    bob = await pair.theirs.person()
    # Our users are not asked for there unless Synapse has authenticated itself here.
    status, answer = await bob.request("GET", f"profile/@nobody:{pair.ours.name}/displayname")
    assert status in (200, 404), answer


async def test_synapse_as_a_notary_is_believed(pair: Pair) -> None:
    """It tells what we ourselves publish, under its signature and ours."""
    federation = pair.ours.process.homeservers[0].federation
    notary, author, now_ms = ServerName(pair.synapse.name), federation.client.author, federation.keys.now_ms()
    (document,) = await fetch_from_notary(federation.client, notary, author.server_name, now_ms=now_ms)
    assert document.keys[author.key.key_id].verify_key == author.key.verify_key
    await federation.keys.verify(document.value, notary, valid_at_ms=now_ms)
