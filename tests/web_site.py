"""A web site for tests: HTTPS on loopback, with pages as a test says, that notes what it was asked."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

from aiohttp import web

from tests.certificates import make_ca, make_certificate
from tests.people import Person

PREVIEW = "/_matrix/client/v1/media/preview_url"
PAGE_BYTES_MAX, IMAGE_BYTES_MAX, TIMEOUT_S, KEPT_MAX = 20_000, 100_000, 2, 5
OTHER_ADDRESS = "127.0.0.2"
"""Where the site is too, but homeservers must not connect to."""
Answer = web.Response | Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class WebSite:
    """The site. `pages` by path; others are not found."""

    port: int
    ca_file: Path
    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[web.BaseRequest] = field(default_factory=list)

    def url(self, path: str, host: str = "localhost") -> str:
        """The address of a page."""
        return f"https://{host}:{self.port}{path}"

    def count(self, path: str) -> int:
        """How often it was asked for a page."""
        return sum(request.path == path for request in self.asked)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        self.asked.append(request)
        answer = self.pages.get(request.path, web.Response(status=404, text="nothing here"))
        if callable(answer):
            return await answer(request)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    @property
    def options(self) -> dict[str, object]:
        """What a homeserver needs that may look at it."""
        return {
            "enabled": True,
            "ports_allowed": [self.port],
            "private_networks_allowed": ["127.0.0.1/32"],
            "ca_file": str(self.ca_file),
        }


def previewing(site: WebSite, **more: object) -> dict[str, object]:
    """The options of a homeserver that may look at the site, a little at a time."""
    return {
        "page_bytes_max": PAGE_BYTES_MAX,
        "image_bytes_max": IMAGE_BYTES_MAX,
        "timeout_s": TIMEOUT_S,
        "kept_max": KEPT_MAX,
        "fetches_concurrent_max": 3,
        **site.options,
        **more,
    }


async def preview(person: Person, url: str) -> Any:
    """What a person is told of a page."""
    return await person.get(PREVIEW, url=url)


async def no_preview(person: Person, url: str) -> str:
    """Why a person is told nothing."""
    answer = await person.expect(502, "GET", PREVIEW, url=url)
    assert answer["errcode"] == "M_UNKNOWN"
    return str(answer["error"])


def page(html: str | bytes, content_type: str = "text/html; charset=utf-8", status: int = 200) -> web.Response:
    """A page."""
    body = html.encode() if isinstance(html, str) else html
    return web.Response(body=body, status=status, headers={"Content-Type": content_type})


def metas(**properties: str) -> str:
    """A page with these of Open Graph's properties."""
    elements = (f'<meta property="og:{name}" content="{value}">' for name, value in properties.items())
    return f"<!DOCTYPE html><html><head>{''.join(elements)}</head><body>text</body></html>"


def redirect(location: str) -> web.Response:
    """A page that has moved."""
    return web.Response(status=302, headers={"Location": location})


@asynccontextmanager
async def run_web_site(folder: Path) -> AsyncIterator[WebSite]:
    """A site at localhost, 127.0.0.1 and `OTHER_ADDRESS`."""
    authority = make_ca()
    ca_file = folder / "web-authority.pem"
    ca_file.write_bytes(authority.pem)
    files = make_certificate(authority, ["localhost", "127.0.0.1", OTHER_ADDRESS]).write(folder, "web")
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.private_key)
    site = WebSite(port=0, ca_file=ca_file)
    runner = web.ServerRunner(web.Server(site.answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "0.0.0.0", 0, ssl_context=context)
    await listener.start()
    site.port = runner.addresses[0][1]
    try:
        yield site
    finally:
        await runner.cleanup()
