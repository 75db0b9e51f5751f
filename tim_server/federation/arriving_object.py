"""Reading a large JSON object while it arrives: the items of its large arrays come one by one.

    reader = ArrivingObject(arrays=("state", "auth_chain"))
    async for chunk in response.chunks:
        for item in reader.feed(chunk):
            …
    for item in reader.end():
        …
    reader.members["event"]          # what is not in one of these arrays

Also `[200, {…}]` is read, the form of answers in the first version of some operations. Nothing larger than
`VALUE_CHARS_MAX` is ever looked at as a whole, and what has come is looked at again only once it has doubled, so that a
hostile server can cost neither memory nor time.
"""

import codecs
import json
import re
from collections.abc import Collection, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

VALUE_CHARS_MAX = 256 * 1024
"""The largest item, and the largest member that is not one of the arrays."""
MEMBERS_MAX = 100

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


class MalformedAnswer(Exception):
    """What arrives is not an object of the form that was asked for."""


class Item(NamedTuple):
    """An item of one of the arrays: an object, and its JSON as it arrived."""

    array: str
    value: dict[str, Any]
    json: bytes


T = TypeVar("T")
Steps: TypeAlias = Generator[Item | None, None, T]
"""Yields items, and None wherever more must arrive; gives what it has read."""


class ArrivingObject:
    """Reads one object. `members` are those that are not one of `arrays`."""

    def __init__(self, *, arrays: Collection[str]) -> None:
        self.members: dict[str, Any] = {}
        self._arrays = frozenset(arrays)
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text, self._at = "", 0
        self._ended = self._done = False
        self._steps = self._read()

    def feed(self, chunk: bytes) -> Iterator[Item]:
        """The items that are complete with this chunk. Raises `MalformedAnswer`."""
        try:
            self._text = self._text[self._at :] + self._decode(chunk, final=self._ended)
        except UnicodeDecodeError:
            raise MalformedAnswer("it is not UTF-8") from None
        self._at = 0
        for item in self._steps:
            if item is None:
                return
            yield item

    def end(self) -> Iterator[Item]:
        """The last items, once all has arrived. Raises `MalformedAnswer` unless the object has come whole."""
        self._ended = True
        yield from self.feed(b"")
        if not self._done:
            raise MalformedAnswer("it ends too soon")

    def _read(self) -> Steps[None]:
        is_pair = (yield from self._peek()) == "["
        if is_pair:
            self._at += 1
            yield from self._value()
            yield from self._expect(",")
        yield from self._expect("{")
        yield from self._object()
        if is_pair:
            yield from self._expect("]")
        self._done = True
        while True:
            self._skip_space()
            if self._at < len(self._text):
                raise MalformedAnswer("something comes after its end")
            yield None

    def _object(self) -> Steps[None]:
        if (yield from self._peek()) == "}":
            self._at += 1
            return
        for _ in range(MEMBERS_MAX):
            name = yield from self._value()
            if not isinstance(name, str):
                raise MalformedAnswer("the name of a member is no string")
            yield from self._expect(":")
            if name in self._arrays:
                yield from self._items(name)
            else:
                self.members[name] = yield from self._value()
            if (yield from self._expect(",}")) == "}":
                return
        raise MalformedAnswer("it has too many members")

    def _items(self, array: str) -> Steps[None]:
        yield from self._expect("[")
        if (yield from self._peek()) == "]":
            self._at += 1
            return
        while True:
            if (yield from self._peek()) != "{":
                raise MalformedAnswer(f"an item of {array} is not an object")
            value = yield from self._value()
            yield Item(array, value, self._text[self._value_start : self._at].encode(errors="surrogatepass"))
            if (yield from self._expect(",]")) == "]":
                return

    def _value(self) -> Steps[Any]:
        """The next value, read and passed."""
        wanted = 0
        while True:
            self._skip_space()
            left = len(self._text) - self._at
            if left > wanted or self._ended:
                found = self._try_value()
                if found is not None:
                    return found[0]
                if self._ended or left > VALUE_CHARS_MAX:
                    raise MalformedAnswer("a value is too large, or no JSON")
                wanted = 2 * left
            yield None

    def _try_value(self) -> tuple[Any] | None:
        try:
            value, end = _DECODER.raw_decode(self._text, self._at)
        except RecursionError:
            raise MalformedAnswer("a value is nested too deeply") from None
        except ValueError:
            return None
        if end == len(self._text) and not self._ended:
            return None  # a number may go on
        if end - self._at > VALUE_CHARS_MAX:
            raise MalformedAnswer("a value is too large, or no JSON")
        self._value_start, self._at = self._at, end
        return (value,)

    def _peek(self) -> Steps[str]:
        """The next sign."""
        self._skip_space()
        while self._at == len(self._text):
            if self._ended:
                raise MalformedAnswer("it ends too soon")
            yield None
            self._skip_space()
        return self._text[self._at]

    def _expect(self, signs: str) -> Steps[str]:
        """The next sign, which must be one of these; passed."""
        sign = yield from self._peek()
        if sign not in signs:
            raise MalformedAnswer("it is not the JSON that was asked for")
        self._at += 1
        return sign

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
