"""The header `Content-Disposition` (RFC 6266): how a file is to be shown, and what it is called.

Spec: https://spec.matrix.org/v1.19/client-server-api/#serving-inline-content
"""

import re
import string

FILE_NAME_BYTES_MAX = 255
INLINE_TYPES = frozenset(
    {
        "text/css",
        "text/plain",
        "text/csv",
        "application/json",
        "application/ld+json",
        "image/jpeg",
        "image/gif",
        "image/png",
        "image/apng",
        "image/webp",
        "image/avif",
        "video/mp4",
        "video/webm",
        "video/ogg",
        "video/quicktime",
        "audio/mp4",
        "audio/webm",
        "audio/aac",
        "audio/mpeg",
        "audio/ogg",
        "audio/wave",
        "audio/wav",
        "audio/x-wav",
        "audio/x-pn-wav",
        "audio/flac",
        "audio/x-flac",
    }
)
"""What browsers show without running anything of it."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ESSENCE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_PARAMETERS = re.compile(rf'(?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"(?:[ !#-\[\]-~]|\\[ -~])*"))*')
CONTENT_TYPE_LENGTH_MAX = 255
UNKNOWN_TYPE = "application/octet-stream"

_PARAMETER = re.compile(rf';[ \t]*({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))')
_PLAIN = re.compile(_TOKEN)
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069/\\]")
_UNRESERVED = frozenset((string.ascii_letters + string.digits + "-._~").encode())
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_EXTENDED = re.compile(r"([A-Za-z0-9-]*)'[^']*'(.*)", re.DOTALL)


def clean_content_type(value: str | None) -> str:
    """The content type, where it has the form of one; else that of bytes of which nothing is known. Parameters that are
    malformed are left out: browsers read another type after a comma in them."""
    if value is None or len(value) > CONTENT_TYPE_LENGTH_MAX:
        return UNKNOWN_TYPE
    value = value.strip(" \t")
    essence = _ESSENCE.match(value)
    if essence is None:
        return UNKNOWN_TYPE
    parameters = value[essence.end() :]
    if _PARAMETERS.fullmatch(parameters):
        return value
    return essence[0] if parameters.lstrip(" \t").startswith(";") else UNKNOWN_TYPE


def clean_file_name(value: str | None) -> str | None:
    """A name that neither leads to another folder nor turns what is seen around; None where nothing is left of it."""
    if value is None:
        return None
    name = _NOT_IN_NAMES.sub("_", value.encode(errors="replace").decode()).strip()
    name = name.encode()[:FILE_NAME_BYTES_MAX].decode(errors="ignore")
    return name if name.strip("._ ") else None


def content_disposition(content_type: str, file_name: str | None) -> str:
    """The header for a file of this type: `inline` only for types that are safe to show."""
    essence = content_type.partition(";")[0].strip().lower()
    kind = "inline" if essence in INLINE_TYPES else "attachment"
    if file_name is None:
        return kind
    is_plain = file_name.isascii() and file_name.isprintable() and "%" not in file_name  # which some decode
    if is_plain and _PLAIN.fullmatch(file_name):
        return f"{kind}; filename={file_name}"
    if is_plain:
        escaped = file_name.replace("\\", "\\\\").replace('"', '\\"')
        return f'{kind}; filename="{escaped}"'
    return f"{kind}; filename*=utf-8''{_encoded(file_name)}"


def file_name_of(header: str | None) -> str | None:
    """The name in a header of another server, made harmless; None where there is none."""
    if header is None:
        return None
    names = {name.lower(): quoted or bare.strip() for name, quoted, bare in _PARAMETER.findall(header)}
    extended = _EXTENDED.fullmatch(names.get("filename*", ""))
    if extended is not None and extended[1].lower() in ("utf-8", "iso-8859-1"):
        return clean_file_name(_decoded(extended[2]).decode(extended[1], errors="replace"))
    name = names.get("filename")
    return None if name is None else clean_file_name(re.sub(r"\\(.)", r"\1", name))


def _encoded(text: str) -> str:
    """Percent-encoded, as RFC 8187 has it."""
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def _decoded(text: str) -> bytes:
    return _ENCODED.sub(lambda match: bytes([int(match[1], 16)]), text.encode())
