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
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def opened(content: bytes) -> Image.Image:
    """An image to look at."""
    return Image.open(io.BytesIO(content))


def png_with(name: bytes, data: bytes) -> bytes:
    """An image of 100 × 100 pixels with one more chunk, before those of the pixels."""
    content = image(100, 100, kind="PNG")
    end_of_header = content.index(b"IHDR") + 4 + 13 + 4
    return content[:end_of_header] + png_chunk(name, data) + content[end_of_header:]


def compressed_zeros(size_bytes: int) -> bytes:
    """A thousandth of that size."""
    compress = zlib.compressobj(9)
    parts = [compress.compress(bytes(1_000_000)) for _ in range(size_bytes // 1_000_000)]
    return b"".join([*parts, compress.flush()])


def gif_of(*frames: tuple[int, int], repeated: int = 1) -> bytes:
    """A small file that says to be an animation of a first frame of one pixel, and then of frames of these sizes."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"

    def frame(width: int, height: int) -> bytes:
        return b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"

    return head + frame(1, 1) + b"".join(frame(*size) for size in frames) * repeated + b"\x3b"


def apng_that_claims(frames: int) -> bytes:
    """An animation of three frames that says to have others."""
    content = animation(kind="PNG")
    start = content.index(b"acTL") - 4
    return content[:start] + png_chunk(b"acTL", struct.pack(">II", frames, 0)) + content[start + 20 :]


def jpeg_of_many_scans(scans: int) -> bytes:
    """A photo of 4 megapixels sharpened again and again: each time costs few bytes and a look at all pixels."""
    content = image(2_000, 2_000, progressive=True)[:-2]
    last = content[content.rindex(b"\xff\xda") :]
    return content + last * scans + b"\xff\xd9"


def two_photos() -> bytes:
    """Two photos in one file, as some cameras make them."""
    pictures = [Image.new("RGB", (200, 100), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    pictures[0].save(file, "MPO", save_all=True, append_images=pictures[1:])
    return file.getvalue()
