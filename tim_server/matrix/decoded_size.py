"""How much memory JSON takes once it is decoded, told before: tiny arrays and objects take many times their size. Pure.

Spec: https://spec.matrix.org/v1.19/appendices/#canonical-json
"""

import re

OBJECT_BYTES, ARRAY_BYTES, TEXT_BYTES, ITEM_BYTES = 192, 96, 64, 40
"""About what these take at least, once they are decoded, an item in its place and with a number in it."""
MUCH_BYTES = 16 * 2**20
"""From here on it is looked at what is within texts, which takes time, unless they are shorter than these:"""
LONG_BYTES = 128

_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""Also one that does not end: what was looked at once is not looked at again, whatever it holds."""


def decoded_bytes(data: bytes) -> int:
    """About what JSON takes once it is decoded, at most; of what is not JSON, anything."""
    texts = (data.count(b'"') - data.count(b'\\"')) // 2
    structure_bytes = _structure_bytes(data)
    if texts and structure_bytes > MUCH_BYTES and len(data) > LONG_BYTES * texts:
        structure_bytes = _structure_bytes(_TEXTS.sub(b"", data))  # people may write brackets and commas, too
    return structure_bytes + TEXT_BYTES * texts


def _structure_bytes(data: bytes) -> int:
    return OBJECT_BYTES * data.count(b"{") + ARRAY_BYTES * data.count(b"[") + ITEM_BYTES * data.count(b",")
