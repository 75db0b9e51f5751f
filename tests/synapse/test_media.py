"""Files go to Synapse and come from it."""

import secrets

import pytest

from tests.files import MIB, announced, download, upload, uploaded
from tests.images import image, opened
from tests.synapse.conftest import Pair

pytestmark = pytest.mark.external


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 1])
async def test_users_of_synapse_download_our_files(pair: Pair, size: int) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    content = secrets.token_bytes(size)
    file = await uploaded(alice, content, content_type="image/png", filename="Röntgen.png")
    got = await download(bob, file)
    assert (got.status, got.body, got.headers["Content-Type"]) == (200, content, "image/png")
    assert "R%C3%B6ntgen.png" in got.headers["Content-Disposition"]


@pytest.mark.parametrize("size", [1, 3 * MIB + 1])
async def test_our_users_download_files_of_synapse(pair: Pair, size: int) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    content = secrets.token_bytes(size)
    file = await uploaded(bob, content, content_type="text/plain", filename="Röntgen.txt")
    got = await download(alice, file)
    assert (got.status, got.body, got.headers["Content-Type"]) == (200, content, "text/plain")
    assert got.headers["Content-Disposition"] == "inline; filename*=utf-8''R%C3%B6ntgen.txt"


async def test_what_is_announced_there_is_not_there_yet(pair: Pair) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    place = await announced(bob)
    assert (await download(alice, f"{place}?timeout_ms=100")).status == 504
    assert (await upload(bob, b"content", place=place))[0] == 200
    assert (await download(alice, place)).body == b"content"


async def test_what_is_not_there_is_not_found(pair: Pair) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    assert (await download(alice, f"{pair.synapse.name}/nothing")).status == 404
    assert (await download(bob, f"{pair.ours.name}/nothing")).status == 404


async def test_images_are_made_smaller_on_either_side(pair: Pair) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    for sender, reader in ((alice, bob), (bob, alice)):
        file = await uploaded(sender, image(800, 600), content_type="image/jpeg")
        query = "width=96&height=96&method=crop"
        got = await download(reader, f"{file}?{query}", place="/_matrix/client/v1/media/thumbnail")
        assert (got.status, opened(got.body).size) == (200, (96, 96))
