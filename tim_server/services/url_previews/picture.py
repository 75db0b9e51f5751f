"""The picture of a page, made anew and small: nothing that was hidden in it is kept. Runs in a process of its own."""

import io
from dataclasses import dataclass

from tim_server.media_store.thumbnails import Thumbnail, ThumbnailOrder, make_thumbnail


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture, and its size in pixels."""

    image: Thumbnail
    width: int
    height: int


def make_picture(order: ThumbnailOrder) -> Picture:
    """The picture; raises `NotAnImage` or `TooManyPixels`. The process ends where the work takes too long."""
    from PIL import Image

    made = make_thumbnail(order)
    with Image.open(io.BytesIO(made.content)) as image:
        return Picture(image=made, width=image.width, height=image.height)
