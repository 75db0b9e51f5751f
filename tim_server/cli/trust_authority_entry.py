"""What an operator hands to an authority: entries of members, requests, certificates, serial numbers."""

from pathlib import Path
from typing import Any

import yaml

from tim_server.cli.failures import CommandFailed
from tim_server.trust.certificates import (
    CertificateRefused,
    certificate_sha256,
    public_key_sha256,
    read_certificate,
    read_certificates,
)
from tim_server.trust.directory import PinnedPart

FILE_BYTES_MAX = 1024 * 1024


def make_entry(server_names: list[str], name: str, kind: str) -> dict[str, Any]:
    """An entry for servers that the authority certifies itself."""
    member = server_names[0].lower().replace("[", "").replace("]", "")  # an id has no brackets
    return {"id": member, "name": name, "kind": kind, "server_names": server_names}


def read_entry(file: Path) -> dict[str, Any]:
    """The entry in a YAML or JSON file; raises `CommandFailed`."""
    try:
        value = yaml.safe_load(read_file(file))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise CommandFailed(f"{file} is neither YAML nor JSON") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise CommandFailed(f"{file} must hold an entry of the form name: value, with id, name, kind and server_names")
    return value


def read_file(file: Path) -> bytes:
    """What is in the file; raises `CommandFailed`."""
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > FILE_BYTES_MAX:
        raise CommandFailed(f"{file} has more than {FILE_BYTES_MAX} bytes")
    return content


def pins_of(file: Path) -> dict[str, str]:
    """How the (first) certificate in the file is pinned, by the keys of the directory; raises `CommandFailed`."""
    content = read_file(file)
    try:
        certificate = read_certificates(content)[0] if b"-----BEGIN" in content else read_certificate(content)
    except CertificateRefused as error:
        raise CommandFailed(f"{file}: {error}") from None
    return {
        PinnedPart.CERTIFICATE.value: certificate_sha256(certificate),
        PinnedPart.PUBLIC_KEY.value: public_key_sha256(certificate),
    }


def parse_serial(text: str) -> int:
    """A serial number as `list` shows it, or with colons as other programs do; raises `CommandFailed`."""
    try:
        return int(text.replace(":", ""), 16)
    except ValueError:
        raise CommandFailed(f"{text!r} is not a serial number in hexadecimal") from None
