"""Read from a page what it says of itself: Open Graph's properties, and where there are none, what takes their place.
Runs in a process of its own, as pages may be made to take long.

Source: https://ogp.me/
"""

import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

from tim_server.media_store.confinement import confined
from tim_server.services.url_previews.charset import decode_page

TITLE_LENGTH_MAX = 300
DESCRIPTION_LENGTH_MAX = 1_000
LENGTH_MAX = 300
ADDRESS_LENGTH_MAX = 2_048
PROPERTIES_READ_MAX = 1_000

_FROM = {
    "og:title": ("og:title", "twitter:title", "dc.title"),
    "og:description": ("og:description", "twitter:description", "description"),
    "og:site_name": ("og:site_name", "application-name"),
    "og:type": ("og:type",),
    "og:locale": ("og:locale",),
    "og:image:alt": ("og:image:alt", "twitter:image:alt"),
}
"""What is told, and the first of what it is taken from."""
_URLS = ("og:url",)
_IMAGES = ("og:image:secure_url", "og:image:url", "og:image", "twitter:image", "twitter:image:src", "image_src")
_READ = frozenset(name for names in _FROM.values() for name in names) | frozenset((*_URLS, *_IMAGES))
_LENGTHS = {"og:title": TITLE_LENGTH_MAX, "og:description": DESCRIPTION_LENGTH_MAX}
_UNSEEN = frozenset({"Cc", "Cs", "Co", "Cn"})
_TURNS_AROUND = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOrder:
    """A page, what its server says of its type, where it was, and how many seconds it may take."""

    content: bytes
    content_type: str
    url: str
    timeout_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What a page says of itself, and the address of its picture."""

    properties: Mapping[str, str] = field(default_factory=dict)
    image_url: str | None = None


def read_page(order: PageOrder) -> PageFacts:
    """What the page says. The process ends where that takes too long."""
    with confined(order.timeout_s):
        reading = _Reading()
        with suppress(Exception):  # also what is no page says something up to there
            reading.feed(decode_page(order.content, order.content_type))
            reading.close()
        return _facts(reading.found, order.url)


class _Reading(HTMLParser):
    """A page while it is read. `found` has the first value of each property."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, str] = {}
        self._seen = 0
        self._title: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what a meta or link element says."""
        if tag == "title" and "title" not in self.found:
            self._title = []
        elif tag in ("meta", "link"):
            self._seen += 1
            if self._seen <= PROPERTIES_READ_MAX:
                self._take(tag, {name: value or "" for name, value in reversed(attrs)})

    def handle_endtag(self, tag: str) -> None:
        """The title ends."""
        if tag == "title" and self._title is not None:
            self.found["title"] = "".join(self._title)
            self._title = None

    def handle_data(self, data: str) -> None:
        """A part of the title."""
        if self._title is not None and len(self._title) < PROPERTIES_READ_MAX:
            self._title.append(data[:TITLE_LENGTH_MAX])

    def _take(self, tag: str, values: Mapping[str, str]) -> None:
        if tag == "link":
            name, value = values.get("rel", ""), values.get("href", "")
        else:
            name, value = values.get("property") or values.get("name", ""), values.get("content", "")
        name = name.strip().lower()
        if name in _READ and value.strip():
            self.found.setdefault(name, value[: 4 * ADDRESS_LENGTH_MAX])


def _facts(found: Mapping[str, str], url: str) -> PageFacts:
    properties = {}
    for name, sources in _FROM.items():
        value = next((found[source] for source in sources if source in found), None)
        if value is None and name == "og:title":
            value = found.get("title")
        if value is not None and (told := _told(value, _LENGTHS.get(name, LENGTH_MAX))):
            properties[name] = told
    if address := _address(found, _URLS, url):
        properties["og:url"] = address
    return PageFacts(properties=properties, image_url=_address(found, _IMAGES, url))


def _told(text: str, length_max: int) -> str:
    """The text on one line, without what can't be seen or turns around what is."""
    seen = "".join(" " if char.isspace() else char for char in text if char.isspace() or not _is_unseen(char))
    seen = " ".join(_TURNS_AROUND.sub("", seen).split())
    return seen if len(seen) <= length_max else f"{seen[: length_max - 1].rstrip()}…"


def _is_unseen(char: str) -> bool:
    return unicodedata.category(char) in _UNSEEN


def _address(found: Mapping[str, str], names: tuple[str, ...], base: str) -> str | None:
    """The first of them that is there, if it leads to somewhere in the web."""
    reference = next((found[name] for name in names if name in found), None)
    if reference is None:
        return None
    try:
        address = urljoin(base, reference.strip())
    except ValueError:
        return None
    is_told = address.startswith(("https://", "http://")) and len(address) <= ADDRESS_LENGTH_MAX
    return address if is_told and address.isprintable() else None
