"""What has been found out, by name, remembered until a time."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

V = TypeVar("V")

NAMES_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[V]):
    """A value, when it was found, and until when it counts."""

    value: V
    found_s: float
    until_s: float


@dataclass(slots=True, kw_only=True)
class RememberedFor(Generic[V]):
    """Values by name, whatever its case; of too many, those that were found first are dropped."""

    now_s: Callable[[], float]
    _found: "OrderedDict[str, Found[V]]" = field(default_factory=OrderedDict)

    def last(self, name: str) -> Found[V] | None:
        """What was found last, whether it still counts or not."""
        return self._found.get(name.lower())

    def get(self, name: str) -> Found[V] | None:
        """What was found last, if it still counts."""
        found = self.last(name)
        return found if found is not None and self.now_s() < found.until_s else None

    def put(self, name: str, value: V, lifetime_s: float) -> None:
        """Remember what was found now."""
        now_s = self.now_s()
        self._found[name.lower()] = Found(value=value, found_s=now_s, until_s=now_s + lifetime_s)
        self._found.move_to_end(name.lower())
        if len(self._found) > NAMES_MAX:
            self._found.popitem(last=False)

    def replace(self, name: str, value: V) -> None:
        """Let another value take the place of what was found, for as long as that counts."""
        found = self.last(name)
        if found is not None:
            self._found[name.lower()] = replace(found, value=value)

    def shorten(self, name: str, age_s: float) -> None:
        """Let it count until it is so old, and no longer."""
        found = self.last(name)
        if found is not None:
            self._found[name.lower()] = replace(found, until_s=min(found.until_s, found.found_s + age_s))
