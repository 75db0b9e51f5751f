"""Previews of web pages: whether the server looks at pages that users refer to, and within which bounds."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from tim_server.config.base import NetworkOption, PathOption, Section

_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")


def _check_host(value: str) -> str:
    value = value.lower().rstrip(".")
    if not _HOST.fullmatch(value):
        raise ValueError("not the name of a host, such as example.org; write other letters than a to z as xn--…")
    return value


HostOption = Annotated[str, AfterValidator(_check_host)]


class UrlPreviewSettings(Section):
    """What the server tells clients of a web page that somebody refers to. It fetches the page itself, so that whoever
    runs the page learns of the server instead of the user, and the server learns which pages users read."""

    enabled: bool = Field(default=False, description="Whether there are previews at all.")
    hosts_allowed: tuple[HostOption, ...] = Field(
        default=(),
        examples=[["example.org"]],
        description="Hosts whose pages and pictures may be looked at, and all below them; without, all others too.",
    )
    hosts_denied: tuple[HostOption, ...] = Field(
        default=(),
        examples=[["ads.example.org"]],
        description="Hosts that are not looked at, nor any below them, even if they are below an allowed one.",
    )
    ports_allowed: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = Field(
        default=(443,), description="Ports that pages may be at."
    )
    private_networks_allowed: tuple[NetworkOption, ...] = Field(
        default=(),
        examples=[["10.20.0.0/16"]],
        description="Private networks whose pages may be looked at, such as an intranet's; without, only public "
        "addresses are connected to. All users see what is there, also by redirects from elsewhere.",
    )
    ca_file: PathOption | None = Field(
        default=None,
        examples=["/etc/tim-server/authorities.pem"],
        description="Certificate authorities in PEM form to verify pages with, instead of the system's.",
    )
    page_bytes_max: int = Field(
        default=512 * 1024, ge=4_096, le=8 * 2**20, description="How much of a page is read, from its beginning."
    )
    image_bytes_max: int = Field(
        default=5 * 2**20,
        ge=4_096,
        le=32 * 2**20,
        description="Size of a picture of a page; of larger ones there is none.",
    )
    timeout_s: float = Field(
        default=10.0, gt=0, le=60, description="How many seconds a page has to arrive, and its picture once more."
    )
    fetches_concurrent_max: int = Field(
        default=10, ge=1, le=200, description="How many pages are fetched at once, two of them for the same user."
    )
    lifetime_s: float = Field(
        default=86_400.0, ge=60, description="For how many seconds a preview is kept, and its picture an hour longer."
    )
    kept_max: int = Field(
        default=10_000,
        ge=1,
        description="How many previews are kept, each with a picture of some 100 kB; of more, the newest.",
    )
