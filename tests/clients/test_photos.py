"""Photos that are sent with matrix-nio and opened with matrix-js-sdk, and the other way round: encrypted, of which the
server sees nothing, and as they are, which it makes smaller; matrix-nio takes the latter in plain rooms only."""

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.server_process import RunningServer
from tests.images import image, opened, photo

if TYPE_CHECKING:
    from tests.clients.mixed_room import MixedRoom

pytestmark = pytest.mark.external

PHOTO = photo(1600, 1200)
"""Taken with the camera turned, at a place that it tells."""
SMALL_PHOTO = image(60, 80)
SIZES = [((320, 240), "scale", (180, 240)), ((96, 96), "crop", (96, 96)), ((9000, 9000), "scale", (1200, 1600))]
"""The sizes that are asked for, and those that are given."""
UPLOAD_BYTES_MAX = 120 * 2**20
MEDIA = "/_matrix/client/v1/media"


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def assert_small_photo(content: bytes, content_type: str, size: tuple[int, int]) -> None:
    assert content_type == "image/jpeg"
    assert opened(content).size == size
    assert dict(opened(content).getexif()) == {} and b"planted" not in content


def assert_served_to_accounts_only(server: RunningServer) -> None:
    """Clients have used the endpoints that take an access token, and none of the deprecated ones."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in server.new_log("photos").splitlines()]
    routes = {line["route"] for line in lines if "/media/" in line.get("route", "")}
    assert routes
    assert {route for route in routes if not route.startswith(MEDIA)} <= {"/_matrix/media/v3/upload"}


@pytest.fixture(autouse=True)
def authenticated_media(running_server: RunningServer) -> Any:
    running_server.new_log("photos")
    yield
    assert_served_to_accounts_only(running_server)


async def test_an_encrypted_photo_of_nio_is_opened_with_js_sdk(mixed_room: "MixedRoom") -> None:
    from tests.clients.nio_photos import send_encrypted_photo

    event_id = await send_encrypted_photo(mixed_room.alice, mixed_room.room_id, PHOTO, SMALL_PHOTO)
    got = await mixed_room.bob.ask("openPhoto", mixed_room.room_id, event_id)
    assert got == {"photo": text(PHOTO), "thumbnail": text(SMALL_PHOTO)}


async def test_an_encrypted_photo_of_js_sdk_is_opened_with_nio(mixed_room: "MixedRoom") -> None:
    from tests.clients.nio_photos import download, is_shown_smaller, open_encrypted_photo, sent_file

    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    event_id = await bob.ask("sendEncryptedPhoto", room_id, text(PHOTO), text(SMALL_PHOTO))
    assert await open_encrypted_photo(alice, room_id, event_id) == (PHOTO, SMALL_PHOTO)
    url = await sent_file(alice, room_id, event_id)
    as_the_server_has_it = await download(alice, url)
    assert as_the_server_has_it.content_type == "application/octet-stream"
    assert len(as_the_server_has_it.body) == len(PHOTO) and as_the_server_has_it.body != PHOTO
    assert not await is_shown_smaller(alice, url)


async def test_a_plain_photo_of_nio_is_opened_and_shown_with_js_sdk(mixed_room: "MixedRoom") -> None:
    from tests.clients.nio_photos import send_photo

    bob, room_id = mixed_room.bob, await mixed_room.plain_room()
    event_id = await send_photo(mixed_room.alice, room_id, PHOTO)
    assert await bob.ask("openPhoto", room_id, event_id) == {"photo": text(PHOTO)}
    for asked, method, given in SIZES:
        got = await bob.ask("showPhoto", room_id, event_id, *asked, method)
        assert_small_photo(base64.b64decode(got["content"]), got["type"], given)


async def test_a_plain_photo_of_js_sdk_is_opened_and_shown_with_nio(mixed_room: "MixedRoom") -> None:
    from tests.clients.nio_photos import open_photo, show_photo

    alice, room_id = mixed_room.alice, await mixed_room.plain_room()
    event_id = await mixed_room.bob.ask("sendPhoto", room_id, text(PHOTO))
    assert await open_photo(alice, room_id, event_id) == PHOTO
    for asked, method, given in SIZES:
        got = await show_photo(alice, room_id, event_id, asked, method)
        assert_small_photo(got.body, got.content_type, given)


async def test_clients_learn_how_large_a_file_may_be(mixed_room: "MixedRoom") -> None:
    with_nio = await mixed_room.alice.call("content_repository_config")
    with_js_sdk = await mixed_room.bob.call("getMediaConfig", True)
    assert (with_nio.upload_size, with_js_sdk) == (UPLOAD_BYTES_MAX, {"m.upload.size": UPLOAD_BYTES_MAX})
