"""Images for tests, made as needed."""

import io
import struct
import zlib
from typing import Any

from PIL import Image


def image(width: int = 800, height: int = 600, *, kind: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    """An image whose left half is red and whose right half is blue."""
    picture = Image.new(mode, (width, height), "red")
    picture.paste(Image.new(mode, (width - width // 2, height), "blue"), (width // 2, 0))
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def plain_image(mode: str, kind: str) -> bytes:
    """An image of one colour in this mode of Pillow."""
    file = io.BytesIO()
    Image.new(mode, (200, 200)).save(file, kind)
    return file.getvalue()


def animation(width: int = 200, height: int = 100, *, kind: str = "GIF", frames: int = 3) -> bytes:
    """Frames of different colours."""
    pictures = [Image.new("RGB", (width, height), (80 * number % 256, 0, 0)) for number in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=50, loop=0)
    return file.getvalue()


def photo(width: int = 400, height: int = 200) -> bytes:
    """A photo taken with the camera turned, which says so, and where."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = "planted place"
    return image(width, height, exif=exif)


def png_that_claims(width: int, height: int) -> bytes:
    """A small file that says to be a huge image."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def opened(content: bytes) -> Image.Image:
    """An image to look at."""
    return Image.open(io.BytesIO(content))
