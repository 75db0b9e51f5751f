"""Log lines as bytes: JSON for machines, or a short form for a person at a console."""

import json
from collections.abc import Callable
from typing import Any

import orjson

from tim_server.observability.pseudonyms import Pseudonymizer
from tim_server.observability.traces import ERROR_TEXTS_KEY

Render = Callable[[dict[str, Any]], bytes]

_FIRST_KEYS = ("timestamp", "level", "event", "logger")


def make_render(*, style: str, pseudonymizer: Pseudonymizer | None, with_error_texts: bool) -> Render:
    """A function from fields to a line. `style` is `json` or `console`."""
    to_bytes = _to_json if style == "json" else _to_console

    def render(fields: dict[str, Any]) -> bytes:
        kept = fields if with_error_texts else {k: v for k, v in fields.items() if k != ERROR_TEXTS_KEY}
        return to_bytes(kept if pseudonymizer is None else pseudonymizer.replace_in(kept))

    return render


def _to_json(fields: dict[str, Any]) -> bytes:
    ordered = {key: fields[key] for key in _FIRST_KEYS if key in fields} | fields
    try:
        return orjson.dumps(ordered, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # lone surrogates, integers beyond 64 bits
        return json.dumps(ordered, default=str).encode() + b"\n"


def _to_console(fields: dict[str, Any]) -> bytes:
    trace = fields.get("trace", ())
    pairs = " ".join(
        f"{key}={_one_line(value)}" for key, value in fields.items() if key not in _FIRST_KEYS and key != "trace"
    )
    head = f"{fields.get('timestamp', '')} {fields.get('level', ''):<8}{_one_line(fields.get('event', ''))}"
    lines = [f"{head} {pairs}".strip(), *(f"    {_one_line(place)}" for place in trace)]
    return ("\n".join(lines) + "\n").encode(errors="backslashreplace")


def _one_line(value: Any) -> str:
    """Text in which nobody can forge another line."""
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()
