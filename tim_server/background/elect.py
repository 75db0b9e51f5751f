"""Singular jobs: of all processes of a homeserver one does them, and another takes over when it is gone."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from tim_server.background.supervise import Loop
from tim_server.matrix.errors import Unavailable
from tim_server.storage.database import CONNECTION_FAILURES
from tim_server.storage.election import Elections, Tenure

AT_ONCE_S = 0.01
STAND_INTERVAL_S = 5.0
"""How often a process asks whether a post is free that another one holds."""

log = structlog.get_logger("background")


def elected_loop(elections: Elections, post: str, work: Callable[[Tenure], Awaitable[None]]) -> Loop:
    """A loop that does the work while this process is elected."""
    return Loop(name=post, interval_s=AT_ONCE_S, work=partial(_stand, elections, post, work))


async def _stand(elections: Elections, post: str, work: Callable[[Tenure], Awaitable[None]]) -> None:
    was_away = False
    while True:
        try:
            await elections.serve(post, work)
            was_away = False
        except (Unavailable, *CONNECTION_FAILURES) as error:
            if not was_away:
                log.warning("the database can't be reached", post=post, error=type(error).__name__)
            was_away = True
        await asyncio.sleep(STAND_INTERVAL_S * random.uniform(0.8, 1.2))
