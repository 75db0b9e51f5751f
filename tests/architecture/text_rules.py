"""What no file of the project contains: addresses that builds would fetch from, and paths of one machine."""

import re
from collections.abc import Iterator

from tests.architecture.sources import Violation

URL = re.compile(r"\bhttps?://(?P<host>\[[0-9a-f:]+\]|[A-Za-z0-9.{}_$<>-]+)")
REGISTRY_HOST = re.compile(
    r"\b(?:registry|pypi|files|deb|security|archive|mirrors?|index|proxy)\.(?:[a-z0-9-]+\.)*(?:org|com|net|io|dev)\b"
)
MACHINE_PATH = re.compile(r"(?<![\w./:$}-])/(?:work|home|Users|mnt)/[\w.-]")
READABLE_HOSTS = frozenset(
    {
        "caddyserver.com",
        "datatracker.ietf.org",
        "docs.docker.com",
        "docs.python.org",
        "encoding.spec.whatwg.org",
        "github.com",
        "html.spec.whatwg.org",
        "keepachangelog.com",
        "matrix.org",
        "ogp.me",
        "prometheus.io",
        "semver.org",
        "spec.matrix.org",
        "www.postgresql.org",
        "www.w3.org",
    }
)
RESERVED_ENDINGS = (".example", ".test", ".invalid", ".localhost", "example.com", "example.org", "example.net")
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "[::1]", "..."})
PRIVATE_ADDRESS = re.compile(r"(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01])|169\.254)\.[\d.]+$")
DOCUMENTATION_ADDRESS = re.compile(r"(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d+$")


def foreign_addresses(path: str, text: str) -> Iterator[Violation]:
    """URLs whose host is neither reserved for examples, nor local, nor a page that people read."""
    for number, line in enumerate(text.splitlines(), start=1):
        for found in URL.finditer(line):
            if not _is_known(found["host"].lower().rstrip(".")):
                advice = f"{found['host']}: use an example name, or add a page that people read to READABLE_HOSTS"
                yield Violation(rule="foreign-address", path=path, line=number, name="", advice=advice)
        if registry := REGISTRY_HOST.search(line):
            advice = f"{registry[0]}: packages are named, never the host they come from"
            yield Violation(rule="registry-host", path=path, line=number, name="", advice=advice)


def machine_paths(path: str, text: str) -> Iterator[Violation]:
    """Absolute paths that exist on somebody's machine only."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := MACHINE_PATH.search(line):
            advice = f"{found[0]}…: a path of one machine: make it relative or an option"
            yield Violation(rule="machine-path", path=path, line=number, name="", advice=advice)


def _is_known(host: str) -> bool:
    name = host.partition(":")[0] if not host.startswith("[") else host
    is_placeholder = any(sign in name for sign in "{}$<>") or "." not in name
    is_reserved = name.endswith(RESERVED_ENDINGS) or DOCUMENTATION_ADDRESS.match(name) or PRIVATE_ADDRESS.match(name)
    return is_placeholder or bool(is_reserved) or name in READABLE_HOSTS | LOCAL_HOSTS
