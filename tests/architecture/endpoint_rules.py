"""What an endpoint's docstring must say: its first line is `METHOD /path`, and a link leads into the specification."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.architecture.operations import Served
from tests.architecture.sources import Violation

SPEC_LINK = re.compile(r"https://spec\.matrix\.org/v1\.19/[a-z0-9/-]+/(?:#[A-Za-z0-9_.-]+)?")
PROPOSAL_LINK = re.compile(r"https://github\.com/matrix-org/matrix-spec-proposals/\S+")
PACKAGES_WITH_SPEC_LINKS = frozenset({"client_api", "federation_api"})


def endpoint_docstrings(routes: Iterable[Served]) -> Iterator[Violation]:
    """Endpoints whose docstring does not name one of their routes, or has no link."""
    by_endpoint: dict[object, list[Served]] = defaultdict(list)
    for route in routes:
        by_endpoint[route.endpoint].append(route)
    for endpoint, served in by_endpoint.items():
        docstring = inspect.getdoc(endpoint) or ""
        titles = [f"`{route.method} {route.path}`" for route in served]
        if not any(docstring.startswith(title) for title in titles):
            yield _at(served[0], "endpoint-title", f"begin the docstring with {titles[0]}")
        needs_link = served[0].package in PACKAGES_WITH_SPEC_LINKS and "/_synapse/" not in served[0].path
        if needs_link and not (SPEC_LINK.search(docstring) or PROPOSAL_LINK.search(docstring)):
            yield _at(served[0], "endpoint-link", "link the operation: Spec: https://spec.matrix.org/v1.19/…")


def _at(route: Served, rule: str, advice: str) -> Violation:
    path, _, line = route.where.rpartition(":")
    return Violation(rule=rule, path=path, line=int(line), name=route.endpoint.__name__, advice=advice)
