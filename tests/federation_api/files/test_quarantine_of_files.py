"""Files that are withdrawn are not given to other servers, and not fetched of them."""

import pytest

from tests.conftest import Neighbourhood
from tests.federation_api.remote_files import GET_CONTENT, in_parts, new_file, refused
from tests.files import download, uploaded
from tests.images import image
from tests.peer import Peer
from tests.people import Person

MEDIA = "/_tim-server/admin/v1/media"


@pytest.fixture(scope="module")
async def admin(neighbourhood: Neighbourhood) -> Person:
    admin = await neighbourhood.a.person()
    async with neighbourhood.a.process.homeservers[0].store.database.transaction() as tx:
        await tx.execute("UPDATE users SET is_admin = true WHERE user_id = $1", admin.user_id)
    return admin


async def test_a_copy_that_is_withdrawn_is_given_to_nobody_and_not_fetched(
    admin: Person, alice: Person, peer: Peer
) -> None:
    seen, unseen = new_file(peer, in_parts(b"seen")), new_file(peer, in_parts(b"unseen"))
    assert (await download(alice, seen)).body == b"seen"
    for file in (seen, unseen):
        await admin.put(f"{MEDIA}/{file}/quarantine", {})
        await refused(alice, file, 404, "M_NOT_FOUND")
    assert len(peer.asked(GET_CONTENT)) == 1
    for file in (seen, unseen):
        await admin.expect(200, "DELETE", f"{MEDIA}/{file}/quarantine")
        assert (await download(alice, file)).status == 200


async def test_a_copy_of_bytes_that_are_withdrawn_is_given_to_nobody(admin: Person, alice: Person, peer: Peer) -> None:
    file = await uploaded(alice, b"bad bytes")
    await admin.put(f"{MEDIA}/{file}/quarantine", {})
    await refused(alice, new_file(peer, in_parts(b"bad bytes")), 404, "M_NOT_FOUND")


async def test_other_servers_are_not_given_what_is_withdrawn(
    neighbourhood: Neighbourhood, admin: Person, alice: Person, peer: Peer
) -> None:
    file = await uploaded(alice, image(), content_type="image/jpeg")
    media_id = file.partition("/")[2]
    await admin.put(f"{MEDIA}/{file}/quarantine", {})
    await refused(await neighbourhood.b.person(), file, 404, "M_NOT_FOUND")
    for path in (f"download/{media_id}", f"thumbnail/{media_id}?width=32&height=32"):
        uri = f"/_matrix/federation/v1/media/{path}"
        headers = {"Authorization": peer.authorization("a.example", "GET", uri), "Host": "a.example"}
        url = f"https://127.0.0.1:{neighbourhood.network.ports['a.example']}{uri}"
        async with peer.session.get(url, headers=headers, server_hostname="a.example") as response:
            assert (response.status, (await response.json())["errcode"]) == (404, "M_NOT_FOUND")
