"""The id of the request that is being answered, for log lines of everything that runs on its behalf."""

import itertools
import secrets
from contextvars import ContextVar

current_request_id: ContextVar[str | None] = ContextVar("current_request_id", default=None)

_process_part = secrets.token_hex(5)
_counter = itertools.count(1)


def new_request_id() -> str:
    """An id that no other request of any process has: a random part per process, and a counter."""
    return f"{_process_part}-{next(_counter):x}"
