"""Every option of the configuration is read somewhere, so that none is dead.

An option is read where code outside `tim_server/config` asks for an attribute of its name, or for a property or method
of its section that does.
"""

import ast
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from tests.architecture.sources import Module, package_modules
from tim_server.config.rate_limits import RateLimitSettings
from tim_server.config.settings import Settings
from tim_server.config.well_known import ContactSettings

READ_AS_A_WHOLE = {RateLimitSettings: "buckets", ContactSettings: "contacts"}
"""Sections whose options are read by their names in a loop, and the attribute by which they are."""


def is_configuration(module: Module) -> bool:
    return module.path.startswith("tim_server/config/")


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


@cache
def attributes_read() -> frozenset[str]:
    """What code outside the configuration asks for, directly or through what sections compute."""
    read = {name for module in package_modules() if not is_configuration(module) for name in attributes(module.tree)}
    methods = [
        node
        for module in package_modules()
        if is_configuration(module)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    while True:
        more = {name for method in methods if method.name in read for name in attributes(method)} - read
        if not more:
            return frozenset(read)
        read |= more


def sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from sections_in(part)


def options(section: type[BaseModel], place: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """Each option with its section, those of sections within included."""
    for name, field in section.model_fields.items():
        yield section, f"{place}{name}"
        for inner in sections_in(field.annotation):
            yield from options(inner, f"{place}{name}.")


@pytest.mark.parametrize(("section", "place"), list(options(Settings)))
def test_every_option_takes_effect(section: type[BaseModel], place: str) -> None:
    wanted = READ_AS_A_WHOLE.get(section, place.rpartition(".")[2])
    assert wanted in attributes_read(), f"nothing reads the option {place}: wire it, or remove it"


def test_an_option_that_nothing_reads_would_be_found() -> None:
    assert "federation_body_bytes_max" not in attributes_read()
    assert {"data_dir", "cache_bytes_max", "private_networks_allowed"} <= attributes_read()
