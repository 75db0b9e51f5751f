"""Copies of other servers' files go once nobody has looked at them for two weeks; who wants one has it fetched anew."""

from tests.conftest import Neighbourhood
from tests.federation_api.remote_files import GET_CONTENT, in_parts, new_file
from tests.files import download, uploaded
from tests.images import image, opened
from tests.peer import Peer
from tests.people import Person

DAY_MS = 24 * 60 * 60 * 1000
MINUTE_MS = 60 * 1000


async def let_pass(neighbourhood: Neighbourhood, file: str, time_ms: int) -> None:
    """Nobody looks at a file for this time, at the end of which the server looks what has expired."""
    opened_homeserver = neighbourhood.a.process.homeservers[0]
    media = opened_homeserver.homeserver.media_download
    async with media.database.transaction() as tx:
        await tx.execute(
            "UPDATE media SET last_access_ts = $3 WHERE (server_name, media_id) = ($1, $2)",
            *file.split("/"),
            media.now_ms() - time_ms,
        )
    (loop,) = [loop for loop in opened_homeserver.loops if loop.name == "expire copies of media"]
    await loop.work()


async def test_a_copy_is_fetched_anew_after_two_weeks(neighbourhood: Neighbourhood, alice: Person, peer: Peer) -> None:
    file = new_file(peer, in_parts(b"content"))
    assert (await download(alice, file)).body == b"content"
    for time_ms, fetches in ((14 * DAY_MS - MINUTE_MS, 1), (14 * DAY_MS + MINUTE_MS, 2)):
        await let_pass(neighbourhood, file, time_ms)
        assert (await download(alice, file)).body == b"content"
        assert len(peer.asked(GET_CONTENT)) == fetches


async def test_a_look_at_it_keeps_a_copy(neighbourhood: Neighbourhood, alice: Person, peer: Peer) -> None:
    file = new_file(peer, in_parts(b"content"))
    for _ in range(3):
        assert (await download(alice, file)).body == b"content"
        await let_pass(neighbourhood, file, 13 * DAY_MS)
    assert len(peer.asked(GET_CONTENT)) == 1


async def test_its_smaller_images_go_with_a_copy(neighbourhood: Neighbourhood, alice: Person, peer: Peer) -> None:
    file = new_file(peer, in_parts(image(200, 100)))
    for fetches in (1, 2):
        got = await download(alice, f"{file}?width=50&height=50", place="/_matrix/client/v1/media/thumbnail")
        assert opened(got.body).size == (50, 25)
        assert len(peer.asked(GET_CONTENT)) == fetches
        await let_pass(neighbourhood, file, 14 * DAY_MS + MINUTE_MS)


async def test_what_is_gone_there_too_is_gone(neighbourhood: Neighbourhood, alice: Person, peer: Peer) -> None:
    file = new_file(peer, in_parts(b"content"))
    assert (await download(alice, file)).status == 200
    peer.answers.clear()
    await let_pass(neighbourhood, file, 14 * DAY_MS + MINUTE_MS)
    assert (await download(alice, file)).status == 404


async def test_uploads_are_not_meant(neighbourhood: Neighbourhood, alice: Person) -> None:
    file = await uploaded(alice, b"content")
    await let_pass(neighbourhood, file, 1000 * DAY_MS)
    assert (await download(alice, file)).body == b"content"
