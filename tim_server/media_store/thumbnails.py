"""Make images smaller. Runs in a process of its own: what decodes images is where hostile files aim.

Only the first frame counts, unless an animation is wanted. Images are turned as their EXIF data say; nothing of these
data is kept. None is made larger. An image of too many pixels is not decoded, and work that takes too long, or too much
memory, ends with its process.

Spec: https://spec.matrix.org/v1.19/client-server-api/#thumbnails
"""

import io
import resource
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
ANIMATED_FRAMES_MAX = 100
MEMORY_BYTES_MAX = 2**30
_JPEG_QUALITY = 80
_WEBP_QUALITY = 75


class NotAnImage(Exception):
    """What was given is no image of a known format, or a broken one."""


class TooManyPixels(Exception):
    """The image is too large to be decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailSize:
    """What is asked for: an image that fits into a box, or fills it and is cut off (`is_cropped`)."""

    width: int
    height: int
    is_cropped: bool
    is_animated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailOrder:
    """An image, what is wanted of it, and how many pixels and seconds it may take."""

    content: bytes
    size: ThumbnailSize
    pixels_max: int
    timeout_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A smaller image."""

    content: bytes
    content_type: str


def make_thumbnail(order: ThumbnailOrder) -> Thumbnail:
    """The thumbnail; raises `NotAnImage` or `TooManyPixels`. The process ends where the work takes too long."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(order.timeout_s)
    try:
        return _make(order)
    except TooManyPixels:
        raise
    except Exception as error:  # a decoder raises whatever it likes
        raise NotAnImage(type(error).__name__) from None
    finally:
        signal.alarm(0)


def _make(order: ThumbnailOrder) -> Thumbnail:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the limit is ours
    with Image.open(io.BytesIO(order.content), formats=FORMATS) as image:
        pixels = image.width * image.height
        if pixels > order.pixels_max:
            raise TooManyPixels
        frames = getattr(image, "n_frames", 1) if order.size.is_animated else 1
        if 1 < frames <= ANIMATED_FRAMES_MAX and pixels * frames <= order.pixels_max:
            return _animated(image, order.size)
        longest = max(order.size.width, order.size.height)
        image.draft("RGB", (longest, longest))
        return _still(_shrunk(image, order.size))


def _still(image: "Image") -> Thumbnail:
    file = io.BytesIO()
    if image.mode == "RGBA":
        image.save(file, "PNG", optimize=False)
        return Thumbnail(content=file.getvalue(), content_type="image/png")
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return Thumbnail(content=file.getvalue(), content_type="image/jpeg")


def _animated(image: "Image", size: ThumbnailSize) -> Thumbnail:
    from PIL import ImageSequence

    frames, durations_ms = [], []
    for frame in ImageSequence.Iterator(image):
        frames.append(_shrunk(frame, size))
        durations_ms.append(frame.info.get("duration", 100))
    file = io.BytesIO()
    frames[0].save(
        file, "WEBP", save_all=True, append_images=frames[1:], duration=durations_ms, loop=0, quality=_WEBP_QUALITY
    )
    return Thumbnail(content=file.getvalue(), content_type="image/webp")


def _shrunk(image: "Image", size: ThumbnailSize) -> "Image":
    from PIL import Image, ImageOps

    has_alpha = "A" in image.getbands() or "transparency" in image.info
    image = ImageOps.exif_transpose(image.convert("RGBA" if has_alpha else "RGB"))
    width, height = size.width, size.height
    if size.is_cropped:
        factor = min(1.0, image.width / width, image.height / height)
        box = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = ImageOps.fit(image, box, Image.Resampling.LANCZOS)
    else:
        image.thumbnail((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    image.info.clear()  # nothing but what is seen goes into the new image
    return image
