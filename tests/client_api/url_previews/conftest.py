"""A site with pages, and a clinic whose people may have them previewed."""

from collections.abc import AsyncIterator

import pytest

from tests.people import Hospital, Person, run_hospital
from tests.web_site import WebSite, previewing, run_web_site


@pytest.fixture(scope="module")
async def web_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WebSite]:
    async with run_web_site(tmp_path_factory.mktemp("web")) as site:
        yield site


@pytest.fixture
def site(web_site: WebSite) -> WebSite:
    web_site.pages.clear()
    web_site.asked.clear()
    return web_site


@pytest.fixture(scope="module")
async def clinic(
    tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory, web_site: WebSite
) -> AsyncIterator[Hospital]:
    previews = previewing(web_site)
    media = {"unauthenticated_downloads": True, "thumbnail_pixels_max": 1_000_000}
    async with run_hospital(tenant_dsn, tmp_path_factory.mktemp("media"), url_previews=previews, media=media) as clinic:
        yield clinic


@pytest.fixture(scope="module")
async def alice(clinic: Hospital) -> Person:
    return await clinic.person()


@pytest.fixture(scope="module")
async def bob(clinic: Hospital) -> Person:
    return await clinic.person()
