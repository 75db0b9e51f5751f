"""Describe an error for the log without the values that caused it.

The text of an exception may quote what a user wrote (a database error quotes the row, a validation error the input).
So a description holds types and places; texts stand under a key of their own, which the log set-up leaves out unless
the operator asks for them.
"""

import traceback
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

ERROR_TEXTS_KEY = "error_texts"

_FRAMES_MAX = 40
_ERRORS_MAX = 10
# What database drivers tell without quoting values.
_HARMLESS_ATTRIBUTES = ("sqlstate", "constraint_name", "errno")


def describe_error(error: BaseException) -> dict[str, Any]:
    """`error` (the type), `trace` (places, innermost last, causes first), `error_texts`, and harmless details."""
    chain = list(_chain(error))[:_ERRORS_MAX]
    description: dict[str, Any] = {
        "error": _type_name(error),
        "trace": [line for member in reversed(chain) for line in _trace(member)],
        ERROR_TEXTS_KEY: [str(member) for member in chain],
    }
    for name in _HARMLESS_ATTRIBUTES:
        value = getattr(error, name, None)
        if value is not None:
            description[name] = value
    return description


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes or contexts, and the members of groups."""
    pending = [error]
    seen: set[int] = set()
    while pending:
        member = pending.pop()
        if id(member) in seen:
            continue
        seen.add(id(member))
        yield member
        if isinstance(member, BaseExceptionGroup):
            pending.extend(member.exceptions)
        cause = member.__cause__ or (None if member.__suppress_context__ else member.__context__)
        if cause is not None:
            pending.append(cause)


def _trace(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    lines = [f"{_short_path(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    return [*lines, _type_name(error)]


def _short_path(filename: str) -> str:
    parts = PurePath(filename).parts
    for root in ("tim_server", "site-packages"):
        if root in parts:
            return "/".join(parts[len(parts) - 1 - parts[::-1].index(root) :])
    return "/".join(parts[-2:])


def _type_name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
