"""Files of other servers by the endpoints that take no access token, where these are switched on."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.conftest import Neighbourhood
from tests.federation_api.remote_files import GET_CONTENT, in_parts, new_file, run_neighbourhood
from tests.images import image, opened
from tests.peer import Peer
from tests.people import Person

OLD_MEDIA = "/_matrix/media/v3"


@pytest.fixture(scope="module")
async def neighbourhood(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Neighbourhood]:
    folder = tmp_path_factory.mktemp("neighbourhood")
    async with run_neighbourhood(make_tenant_dsn, folder, unauthenticated_downloads=True) as neighbourhood:
        yield neighbourhood


async def anonymously(neighbourhood: Neighbourhood, path: str) -> tuple[int, bytes]:
    async with neighbourhood.a.session.get(f"{OLD_MEDIA}/{path}") as response:
        return response.status, await response.read()


async def test_a_file_of_another_server_is_given_to_anybody(neighbourhood: Neighbourhood, peer: Peer) -> None:
    file = new_file(peer, in_parts(image(200, 100)))
    for path in (f"download/{file}", f"download/{file}/a.jpg"):
        assert await anonymously(neighbourhood, path) == (200, image(200, 100))
    status, small = await anonymously(neighbourhood, f"thumbnail/{file}?width=50&height=50")
    assert (status, opened(small).size) == (200, (50, 25))
    assert len(peer.asked(GET_CONTENT)) == 1


@pytest.mark.parametrize("path", ["download/{}?", "download/{}/a.jpg?", "thumbnail/{}?width=50&height=50&"])
async def test_it_is_not_fetched_where_the_request_says_so(neighbourhood: Neighbourhood, peer: Peer, path: str) -> None:
    file = new_file(peer, in_parts(image(200, 100)))
    assert (await anonymously(neighbourhood, path.format(file) + "allow_remote=false"))[0] == 404
    assert peer.asked(GET_CONTENT) == []
    assert (await anonymously(neighbourhood, path.format(file) + "allow_remote=true"))[0] == 200
    assert (await anonymously(neighbourhood, path.format(file) + "allow_remote=false"))[0] == 200


async def test_uploads_and_settings_take_an_account_all_the_same(neighbourhood: Neighbourhood, alice: Person) -> None:
    for path in ("config", "preview_url?url=https://a.example"):
        assert (await anonymously(neighbourhood, path))[0] == 401
    async with neighbourhood.a.session.post(f"{OLD_MEDIA}/upload", data=b"x") as response:
        assert response.status == 401
