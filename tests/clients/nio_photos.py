"""Photos with matrix-nio: sending and opening them, as they are or encrypted, and seeing them in other sizes."""

import io
from typing import Any

from nio import DownloadResponse, Event, ResizingMethod, RoomEncryptedImage, RoomMessageImage, ThumbnailResponse
from nio.crypto.attachments import decrypt_attachment

from tests.clients.nio_person import Person, checked

MIMETYPE = "image/jpeg"


async def send_photo(person: Person, room_id: str, photo: bytes) -> str:
    """Send a photo as it is; its event id."""
    url, _ = await _upload(person, photo, filename="photo.jpg")
    return await _send(person, room_id, {"url": url, "info": {"mimetype": MIMETYPE}})


async def send_encrypted_photo(person: Person, room_id: str, photo: bytes, thumbnail: bytes) -> str:
    """Send a photo, and a smaller one to show before it, both encrypted; its event id."""
    files = []
    for content in (photo, thumbnail):
        url, keys = await _upload(person, content, encrypt=True)
        files.append({**keys, "url": url})
    return await _send(person, room_id, {"file": files[0], "info": {"mimetype": MIMETYPE, "thumbnail_file": files[1]}})


async def open_photo(person: Person, room_id: str, event_id: str) -> bytes:
    """A photo that somebody sent as it is."""
    image = await _image(person, room_id, event_id, RoomMessageImage)
    photo: bytes = (await download(person, image.url)).body
    return photo


async def open_encrypted_photo(person: Person, room_id: str, event_id: str) -> tuple[bytes, bytes]:
    """A photo that somebody sent encrypted, and the smaller one that was sent with it."""
    image = await _image(person, room_id, event_id, RoomEncryptedImage)
    photo, thumbnail = [await download(person, url) for url in (image.url, image.thumbnail_url)]
    return (
        decrypt_attachment(photo.body, image.key["k"], image.hashes["sha256"], image.iv),
        decrypt_attachment(
            thumbnail.body, image.thumbnail_key["k"], image.thumbnail_hashes["sha256"], image.thumbnail_iv
        ),
    )


async def show_photo(
    person: Person, room_id: str, event_id: str, size: tuple[int, int], method: str
) -> ThumbnailResponse:
    """A photo that somebody sent as it is, in another size that the server makes."""
    image = await _image(person, room_id, event_id, RoomMessageImage)
    return await person.call("thumbnail", *_place(image.url), *size, ResizingMethod(method))


async def sent_file(person: Person, room_id: str, event_id: str) -> str:
    """Where what was sent encrypted is: its `mxc://` URI."""
    url: str = (await _image(person, room_id, event_id, RoomEncryptedImage)).url
    return url


async def download(person: Person, url: str) -> DownloadResponse:
    """A file as the server has it."""
    return await person.call("download", url)


async def is_shown_smaller(person: Person, url: str) -> bool:
    """Whether the server makes a file smaller."""
    return isinstance(await person.client.thumbnail(*_place(url), 96, 96), ThumbnailResponse)


def _place(url: str) -> tuple[str, str]:
    server_name, _, media_id = url.removeprefix("mxc://").partition("/")
    return server_name, media_id


async def _upload(
    person: Person, content: bytes, *, encrypt: bool = False, filename: str | None = None
) -> tuple[str, dict[str, Any]]:
    options = {"content_type": MIMETYPE, "filename": filename, "encrypt": encrypt, "filesize": len(content)}
    response, keys = await person.client.upload(io.BytesIO(content), **options)
    return checked(response).content_uri, keys


async def _send(person: Person, room_id: str, content: dict[str, Any]) -> str:
    return await person.send(room_id, "m.room.message", {"msgtype": "m.image", "body": "photo.jpg", **content})


async def _image(person: Person, room_id: str, event_id: str, kind: type[Event]) -> Any:
    def found() -> list[Event]:
        events = person.timelines.get(room_id, [])
        return [event for event in events if event.event_id == event_id and isinstance(event, kind)]

    await person.until(lambda: bool(found()))
    return found()[0]
