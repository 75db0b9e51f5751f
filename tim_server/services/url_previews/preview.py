"""Previews of web pages: fetched, read in a process of their own, and kept for a while.

Whoever asks for a page that is being fetched waits for the same fetch. What users refer to is content: no address is in
a log, an error, or readable in the database.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec
import structlog

from tim_server.egress.web_pages import NotAWebAddress, PageUnavailable, WebPage, WebPages, web_address
from tim_server.matrix.errors import InvalidParam, MatrixError, Unavailable
from tim_server.matrix.federation_errors import BadGateway
from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.media_store.thumbnails import NotAnImage, ThumbnailOrder, ThumbnailSize, TooManyPixels
from tim_server.services.accounts.requester import Requester
from tim_server.services.fair_turns import FairTurns
from tim_server.services.media.keep import ArrivingMedium, MediaKeeping
from tim_server.services.media.upload import new_media_id
from tim_server.services.process_pool import ProcessPool
from tim_server.services.shared_work import SharedWork
from tim_server.services.url_previews.page import PageFacts, PageOrder, read_page
from tim_server.services.url_previews.picture import Picture, make_picture
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.url_previews import StoredPreview, find_preview, keep_preview, note_image

REFUSALS_MAX = 1_000
REFUSAL_LIFETIME_MS = 60_000
REFUSALS = (BadGateway,)
IDLE_S = 300.0
IMAGE_OUTLIVES_MS = 3_600_000
KEEP_TIMEOUT_S = 30.0
SIDE_MAX = 1_024
READING_TIMEOUT_S = 3
IMAGE_TIMEOUT_S = 5
"""What is no trap is read in a fraction of this; others wait meanwhile."""
PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})

_log = structlog.get_logger("media")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPolicy:
    """Bounds of previews."""

    page_bytes_max: int
    image_bytes_max: int
    pixels_max: int
    lifetime_s: float
    kept_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a page says of itself, and its picture, if there is one."""

    properties: dict[str, str | int]
    media_id: MediaId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPreviews:
    """Gives previews. `codec` seals them."""

    server_name: ServerName
    database: Database
    keeping: MediaKeeping
    codec: Codec
    pages: WebPages
    policy: PreviewPolicy
    turns: FairTurns
    work: SharedWork[str, bytes]
    now_ms: Callable[[], int]
    pool: ProcessPool = field(default_factory=lambda: ProcessPool(work="read web pages", attempts_max=1, idle_s=IDLE_S))
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One at a time, so that what kills the process is known by its fall."""

    async def of(self, requester: Requester, url: str) -> bytes:
        """The JSON of the answer for a page, which may be empty. Raises `InvalidParam` for what is no web address,
        `BadGateway` for what can't be had, whatever the reason, `LimitExceeded` and `Unavailable`."""
        try:
            address = web_address(url)
        except NotAWebAddress:
            raise InvalidParam("url: not the address of a web page") from None
        address_hash = self.codec.fingerprint(address.encode())
        if (answer := await self._kept_answer(address_hash)) is not None:
            return answer
        turn = self.turns.of(requester.user_id)
        return await self.work.get(address, partial(self._make, address, address_hash), turn=turn)

    async def close(self) -> None:
        """End what is being fetched."""
        await self.work.close()
        await self.pages.close()
        self.pool.close()

    async def _kept_answer(self, address_hash: bytes) -> bytes | None:
        async with self.database.connection() as connection:
            return await find_preview(connection, self.codec, self.server_name, address_hash, now=self.now_ms())

    async def _make(self, address: str, address_hash: bytes) -> bytes:
        if (answer := await self._kept_answer(address_hash)) is not None:
            return answer
        try:
            found = await self._find(address)
        except PageUnavailable:
            raise BadGateway("There is no preview of this page") from None
        now = self.now_ms()
        preview = StoredPreview(
            address_hash=address_hash,
            answer=msgspec.json.encode(found.properties),
            media_id=found.media_id,
            expires_ts=now + int(self.policy.lifetime_s * 1000),
        )
        keep = _Keep(codec=self.codec, preview=preview, kept_max=self.policy.kept_max, due_ts=now + IMAGE_OUTLIVES_MS)
        await self.keeping.writer.write(keep)
        return preview.answer

    async def _find(self, address: str) -> _Found:
        """What there is at an address: a page with a picture, or a picture; nothing of other files."""
        async with self.pages.open(address) as page:
            essence = page.content_type.partition(";")[0].strip().lower()
            if essence.startswith("image/"):
                return await self._with_image({}, await self._whole(page))
            if essence not in PAGE_TYPES:
                return _Found(properties={})
            content = await page.beginning(self.policy.page_bytes_max)
        facts = await self._read(page, content)
        image = await self._image_at(facts.image_url)
        return await self._with_image(dict(facts.properties), image)

    async def _read(self, page: WebPage, content: bytes) -> PageFacts:
        order = PageOrder(
            content=content,
            content_type=page.content_type,
            url=page.url,
            timeout_s=READING_TIMEOUT_S,
        )
        async with self._reading:
            try:
                return await self.pool.run(read_page, order)
            except Unavailable:  # it has killed the process
                return PageFacts()

    async def _image_at(self, url: str | None) -> bytes | None:
        if url is None:
            return None
        try:
            async with self.pages.open(web_address(url)) as page:
                return await self._whole(page)
        except (NotAWebAddress, PageUnavailable):
            return None

    async def _whole(self, page: WebPage) -> bytes | None:
        """All of a picture; None where it is too large."""
        limit = self.policy.image_bytes_max
        content = await page.beginning(limit + 1)
        return content if len(content) <= limit else None

    async def _with_image(self, properties: dict[str, str | int], content: bytes | None) -> _Found:
        """The properties, and those of the picture where it is one and can be kept."""
        picture = None if content is None else await self._made_small(content)
        media_id = None if picture is None else await self._kept(picture)
        if picture is None or media_id is None:
            properties.pop("og:image:alt", None)
            return _Found(properties=properties)
        properties |= {
            "og:image": f"mxc://{self.server_name}/{media_id}",
            "og:image:type": picture.image.content_type,
            "og:image:width": picture.width,
            "og:image:height": picture.height,
            "matrix:image:size": len(picture.image.content),
        }
        return _Found(properties=properties, media_id=media_id)

    async def _made_small(self, content: bytes) -> Picture | None:
        order = ThumbnailOrder(
            content=content,
            size=ThumbnailSize(width=SIDE_MAX, height=SIDE_MAX, is_cropped=False),
            pixels_max=self.policy.pixels_max,
            timeout_s=IMAGE_TIMEOUT_S,
        )
        async with self._reading:
            try:
                return await self.pool.run(make_picture, order)
            except (NotAnImage, TooManyPixels, Unavailable):
                return None

    async def _kept(self, picture: Picture) -> MediaId | None:
        """The picture as a file of this server; None where it can't be kept, which the preview does not need."""
        media_id = new_media_id()
        due_ts = self.now_ms() + int(self.policy.lifetime_s * 1000) + IMAGE_OUTLIVES_MS
        await self.keeping.writer.write(_NoteImage(media_id=media_id, due_ts=due_ts))
        arriving = ArrivingMedium(
            server_name=self.server_name,
            media_id=media_id,
            user_id=None,
            content_type=picture.image.content_type,
            file_name=None,
            pieces=_one_piece(picture.image.content),
        )
        try:
            kept = await self.keeping.keep(arriving, timeout_s=KEEP_TIMEOUT_S)
        except (MatrixError, TimeoutError) as error:
            _log.warning("the picture of a page could not be kept", error=type(error).__name__)
            return None
        return None if kept is None else media_id


async def _one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoteImage:
    media_id: MediaId
    due_ts: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await note_image(tx, self.media_id, due_ts=self.due_ts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keep:
    codec: Codec
    preview: StoredPreview
    kept_max: int
    due_ts: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await keep_preview(tx, self.codec, self.preview, kept_max=self.kept_max, due_ts=self.due_ts)
