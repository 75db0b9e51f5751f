"""Make images smaller. Runs in a process of its own: what decodes images is where hostile files aim.

Only the first frame counts, unless an animation is wanted. Images are turned as their EXIF data say; nothing of these
data is kept. None is made larger. An image of too many pixels is not decoded, no frame of it, and work that takes too
long, or too much memory, ends with its process: the first that is ended where the machine has no memory left.

Spec: https://spec.matrix.org/v1.19/client-server-api/#thumbnails
"""

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tim_server.media_store.confinement import confined

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

ANIMATED_FORMATS = ("PNG", "GIF", "WEBP", "AVIF")
FORMATS = ("JPEG", *ANIMATED_FORMATS)
ANIMATED_FRAMES_MAX = 100
_ORIENTATION = 0x0112
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
    with confined(order.timeout_s):
        try:
            return _make(order)
        except TooManyPixels:
            raise
        except Exception as error:  # a decoder raises whatever it likes
            raise NotAnImage(type(error).__name__) from None


def _make(order: ThumbnailOrder) -> Thumbnail:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = order.pixels_max  # Pillow holds each frame against it: later ones may be larger
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(order.content), formats=FORMATS) as image:
            if _moves(image, order):
                return _animated(image, order.size)
            longest = max(order.size.width, order.size.height)
            image.draft("RGB", (longest, longest))
            return _still(_shrunk(image, order.size))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise TooManyPixels from None


def _moves(image: "Image", order: ThumbnailOrder) -> bool:
    """Whether an animation is wanted, and the image is one that is not too long. Photos may hold more than one image,
    but are none."""
    if not order.size.is_animated or image.format not in ANIMATED_FORMATS:
        return False
    frames: int = getattr(image, "n_frames", 1)
    return 1 < frames <= ANIMATED_FRAMES_MAX and image.width * image.height * frames <= order.pixels_max


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
    """A new image, which is turned once it is small."""
    from PIL import Image, ImageOps

    turn = _turn_of(image)
    width, height = size.width, size.height
    if turn is not None and _is_sideways(turn):
        width, height = height, width
    mode = "RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if size.is_cropped:
        factor = min(1.0, image.width / width, image.height / height)
        small = ImageOps.fit(image, _box(width * factor, height * factor), Image.Resampling.LANCZOS)
    else:
        factor = min(1.0, width / image.width, height / image.height)
        box = _box(image.width * factor, image.height * factor)
        small = image.resize(box, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if turn is not None:
        small = small.transpose(turn)
    small.info.clear()  # nothing but what is seen goes into the new image
    return small


def _box(width: float, height: float) -> tuple[int, int]:
    return max(1, round(width)), max(1, round(height))


def _turn_of(image: "Image") -> "Transpose | None":
    """How the EXIF data say to turn the image; not at all where they are broken."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # whatever their reader raises
        return None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(orientation) if isinstance(orientation, int) else None


def _is_sideways(turn: "Transpose") -> bool:
    from PIL.Image import Transpose

    return turn in (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
