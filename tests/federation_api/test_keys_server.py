"""The keys that this server signs with, as it tells them to others."""

import time

from tests.conftest import Neighbourhood
from tim_server.matrix.server_keys import read_key_document

PATH = "/_matrix/key/v2/server"


async def test_the_document_is_signed_with_each_key_in_use_and_good_for_a_day(neighbourhood: Neighbourhood) -> None:
    async with neighbourhood.a.session.get(PATH) as response:
        assert response.status == 200
        document = await response.json()
    now_ms = int(time.time() * 1000)
    author = neighbourhood.a.process.homeservers[0].federation.client.author
    read = read_key_document(document, "a.example", fetched_ts=now_ms)
    assert {key_id: key.verify_key for key_id, key in read.keys.items()} == {author.key.key_id: author.key.verify_key}
    assert 23 * 3_600_000 < document["valid_until_ts"] - now_ms <= 24 * 3_600_000
    assert document["old_verify_keys"] == {}
