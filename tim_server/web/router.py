"""A trie over path segments: finds the route of a request in one step per segment.

A literal segment wins over a parameter. Unknown paths are 404 `M_UNRECOGNIZED`, known paths with another method 405.

Spec: https://spec.matrix.org/v1.19/client-server-api/#common-error-codes
"""

from collections.abc import Iterable, Sequence
from typing import Final

from tim_server.matrix.errors import MethodNotAllowed, Unrecognized
from tim_server.web.route import Route

_OLD_PREFIXES: Final = (("_matrix", "client"), ("_matrix", "media"))


class _Node:
    """What may follow a path so far, and the routes that end here."""

    __slots__ = ("literals", "parameter", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}


class Router:
    """Finds routes by method and decoded path segments.

    `serve_r0` makes each path under `/_matrix/client/v3` and `/_matrix/media/v3` known under `r0` too.
    """

    __slots__ = ("_root", "routes")

    def __init__(self, routes: Iterable[Route], *, serve_r0: bool = False) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)
        if serve_r0:
            for prefix in _OLD_PREFIXES:
                self._alias_r0(prefix)

    def find(self, method: str, segments: Sequence[str]) -> tuple[Route, dict[str, str]]:
        """The route and the values of its path parameters; raises Unrecognized or MethodNotAllowed."""
        values: list[str] = []
        node = _descend(self._root, segments, values)
        if node is None or method not in node.routes:
            values.clear()
            node = _walk(self._root, segments, method, values)
        if node is None and method == "HEAD":
            return self.find("GET", segments)
        if node is None:
            raise MethodNotAllowed() if self.methods(segments) else Unrecognized()
        route, names = node.routes[method]
        # A parameter that may be left out, and was, has no value here: zip ends with the shorter one.
        return route, dict(zip(names, values, strict=False))

    def methods(self, segments: Sequence[str]) -> tuple[str, ...]:
        """The methods that are known at a path, for the `Allow` header; none where the path is unknown."""
        node = _walk(self._root, segments, None, [])
        return tuple(sorted(node.routes)) if node is not None else ()

    def _add(self, route: Route) -> None:
        for segments in _forms(route):
            node = self._root
            for segment in segments:
                node = _child(node, segment)
            known, _ = node.routes.setdefault(route.method, (route, route.parameters))
            if known is not route and known.endpoint is not route.endpoint:
                raise ValueError(f"two routes for {route.method} {route.path}: also {known.path}")

    def _alias_r0(self, prefix: tuple[str, ...]) -> None:
        node = self._root
        for segment in prefix:
            node = node.literals.get(segment, _Node())
        if "v3" in node.literals:
            node.literals.setdefault("r0", node.literals["v3"])


def _forms(route: Route) -> list[tuple[str, ...]]:
    """The ways in which a path may be written: with and without a trailing slash or a last optional parameter."""
    segments = route.segments
    last = segments[-1]
    if last == "" and len(segments) > 1:
        return [segments, segments[:-1]]
    if last.startswith("{") and last[1:-1] in route.reader.optional_path_names:
        return [segments, segments[:-1], (*segments[:-1], "")]
    return [segments]


def _child(node: _Node, segment: str) -> _Node:
    if segment.startswith("{"):
        if node.parameter is None:
            node.parameter = _Node()
        return node.parameter
    return node.literals.setdefault(segment, _Node())


def _descend(node: _Node, segments: Sequence[str], values: list[str]) -> _Node | None:
    """The node that is reached by taking each literal where there is one; quick, and nearly always the right one."""
    for segment in segments:
        child = node.literals.get(segment)
        if child is None:
            child = node.parameter
            if child is None or segment == "":
                return None
            values.append(segment)
        node = child
    return node


def _walk(node: _Node, segments: Sequence[str], method: str | None, values: list[str], depth: int = 0) -> _Node | None:
    """The node at the end of `segments` that knows `method` (None: any), depth first; `values` gets the parameters."""
    if depth == len(segments):
        return node if (method in node.routes if method else node.routes) else None
    segment = segments[depth]
    literal = node.literals.get(segment)
    if literal is not None:
        found = _walk(literal, segments, method, values, depth + 1)
        if found is not None:
            return found
    if node.parameter is None or segment == "":
        return None
    values.append(segment)
    found = _walk(node.parameter, segments, method, values, depth + 1)
    if found is None:
        values.pop()
    return found
