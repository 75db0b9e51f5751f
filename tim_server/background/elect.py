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

log = structlog.get_logger("background")


def elected_loop(
    elections: Elections, post: str, work: Callable[[Tenure], Awaitable[None]], *, interval_s: float = 5.0
) -> Loop:
    """A loop that does the work while this process is elected, and otherwise asks every `interval_s` whether the post
    is free."""
    return Loop(name=post, interval_s=AT_ONCE_S, work=partial(_stand, elections, post, work, interval_s))


async def _stand(elections: Elections, post: str, work: Callable[[Tenure], Awaitable[None]], interval_s: float) -> None:
    was_away = False
    while True:
        try:
            await elections.serve(post, work)
            was_away = False
        except (Unavailable, *CONNECTION_FAILURES) as error:
            if not was_away:
                log.warning("the database can't be reached", post=post, error=type(error).__name__)
            was_away = True
        await asyncio.sleep(interval_s * random.uniform(0.8, 1.2))
