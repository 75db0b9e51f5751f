"""Work on images that takes too much ends with its process, and the next image gets a new one."""

import os
import time
from pathlib import Path

import pytest

from tests.images import image, opened
from tim_server.matrix.errors import Unavailable
from tim_server.media_store import thumbnails
from tim_server.media_store.confinement import MEMORY_BYTES_MAX
from tim_server.media_store.thumbnails import NotAnImage, ThumbnailOrder, ThumbnailSize, make_thumbnail
from tim_server.services.process_pool import ProcessPool

SIZE = ThumbnailSize(width=10, height=10, is_cropped=True)


def order(content: bytes, *, timeout_s: int = 10) -> ThumbnailOrder:
    return ThumbnailOrder(content=content, size=SIZE, pixels_max=10_000_000, timeout_s=timeout_s)


def make_slowly(asked: ThumbnailOrder) -> object:
    """As if an image took very long to decode, in code that nothing interrupts."""
    thumbnails._make = lambda _order: time.sleep(60)  # type: ignore[assignment,return-value]
    return make_thumbnail(asked)


def make_greedily(asked: ThumbnailOrder) -> object:
    """As if an image took more memory than it may."""
    thumbnails._make = lambda _order: bytearray(2 * MEMORY_BYTES_MAX)  # type: ignore[assignment,return-value]
    return make_thumbnail(asked)


async def test_what_takes_too_long_ends_with_its_process() -> None:
    pool = ProcessPool(work="test", attempts_max=1)
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await pool.run(make_slowly, order(image(), timeout_s=1))
        assert time.monotonic() - began < 20
        made = await pool.run(make_thumbnail, order(image()))
        assert opened(made.content).size == (10, 10)
    finally:
        pool.close()


def look_around(asked: ThumbnailOrder) -> tuple[int, str]:
    """How urgent the process is after it has made an image smaller, and how soon it is ended where memory is short."""
    make_thumbnail(asked)
    return os.getpriority(os.PRIO_PROCESS, 0), Path("/proc/self/oom_score_adj").read_text().strip()


async def test_the_server_comes_first() -> None:
    pool = ProcessPool(work="test", attempts_max=1)
    try:
        assert await pool.run(look_around, order(image())) == (10, "1000")
        assert await pool.run(look_around, order(image())) == (10, "1000")
    finally:
        pool.close()


async def test_what_takes_too_much_memory_is_no_image() -> None:
    pool = ProcessPool(work="test", attempts_max=1)
    try:
        with pytest.raises(NotAnImage):
            await pool.run(make_greedily, order(image()))
    finally:
        pool.close()
