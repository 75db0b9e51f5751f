"""What this process knows about who may talk to this server. Verdicts are taken from it, in memory."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tim_server.matrix.identifiers import ServerName
from tim_server.trust.contacts import TrustView
from tim_server.trust.directory import Directory
from tim_server.trust.profiles import ProfileRules
from tim_server.trust.verdict import Verdict

if TYPE_CHECKING:  # certificates take memory that a server of the open profile need not spend
    from tim_server.trust.signed_directory import SignedDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryCopy:
    """The directory in force; `generation` is the number of the copy in the database, `fetched_ts` when it was
    accepted (milliseconds)."""

    signed: "SignedDirectory"
    generation: int
    fetched_ts: int

    @property
    def directory(self) -> Directory:
        """What it says."""
        return self.signed.directory


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """What is known of a source beside its copy: times in milliseconds, and why the last attempt failed."""

    checked_ts: int | None = None
    attempted_ts: int = 0
    problem: str | None = None


@dataclass(slots=True, kw_only=True)
class TrustKnowledge:
    """The rules of the homeserver, and the directory in force. `generation` is another, and `on_change` is awaited,
    whenever a verdict may have become another."""

    own_name: ServerName
    rules: ProfileRules
    copy: DirectoryCopy | None = None
    generation: int = 0
    on_change: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    _view: TrustView = field(init=False)

    def __post_init__(self) -> None:
        """Know nobody yet."""
        self._view = TrustView(own_name=self.own_name, rules=self.rules)

    @property
    def view(self) -> TrustView:
        """What the rules of trust judge by."""
        return self._view

    async def adopt(self, copy: DirectoryCopy | None) -> None:
        """Put another directory in force; None: no longer any."""
        self.copy = copy
        directories = () if copy is None else (copy.directory,)
        self._view = TrustView(own_name=self.own_name, rules=self.rules, directories=directories)
        await self.tell_change()

    async def tell_change(self) -> None:
        """Something that verdicts depend on has changed."""
        self.generation += 1
        for callback in self.on_change:
            await callback()


def changes_between(before: Directory, after: Directory) -> list[tuple[ServerName, Verdict]]:
    """The servers that only one of the directories lists, and what that means for them from now on."""
    names_before, names_after = _names(before), _names(after)
    version = after.version
    listed = Verdict(is_allowed=True, reason=f"version {version} of the directory lists the server")
    delisted = Verdict(is_allowed=False, reason=f"version {version} of the directory does not list the server any more")
    added = [(names_after[key], listed) for key in sorted(names_after.keys() - names_before.keys())]
    removed = [(names_before[key], delisted) for key in sorted(names_before.keys() - names_after.keys())]
    return [*removed, *added]


def _names(directory: Directory) -> dict[str, ServerName]:
    return {name.lower(): name for each in directory.organisations for name in each.server_names}
