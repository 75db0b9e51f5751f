"""Durability: a real server and a real PostgreSQL are killed under load. `TIM_SERVER_LONG=short` for a short form."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.durability.api import Api, make_session
from tests.durability.load import Load
from tests.durability.site import Site

KILLS_SHORT, KILLS_FULL = 3, 50


@pytest.fixture(scope="session")
def kills() -> int:
    """How often something is killed in one test."""
    return KILLS_SHORT if os.environ.get("TIM_SERVER_LONG") == "short" else KILLS_FULL


@asynccontextmanager
async def load_on(site: Site) -> AsyncIterator[Load]:
    """A load that is prepared, and not started yet."""
    async with make_session() as session:
        load = Load(site=site, api=Api(session, base_url=site.base_url))
        await load.prepare()
        try:
            yield load
        finally:
            await load.abandon()
