"""Every option is described, and the documented example shows them all and loads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tim_server.config.base import Section
from tim_server.config.describe import render_all_options
from tim_server.config.load import load_settings
from tim_server.config.settings import Settings, TenantSettings
from tim_server.config.suggest import section_in

EXAMPLES = Path(__file__).parents[2] / "config"


def options(section: type[Section], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, field in section.model_fields.items():
        yield (*place, name), field
        inner = section_in(field.annotation)
        if inner is not None:
            yield from options(inner, (*place, name))


ALL_OPTIONS = [*options(Settings), *options(TenantSettings)]


@pytest.mark.parametrize(
    ("place", "field"), ALL_OPTIONS, ids=lambda value: ".".join(value) if isinstance(value, tuple) else ""
)
def test_every_option_is_described(place: tuple[str, ...], field: Any) -> None:
    assert field.description, f"{'.'.join(place)} has no description"
    assert field.description.endswith("."), f"the description of {'.'.join(place)} is not a sentence"


def test_every_option_stands_in_the_example() -> None:
    text = (EXAMPLES / "open.yaml").read_text()
    for place, _ in ALL_OPTIONS:
        assert f"{place[-1]}:" in text, f"{'.'.join(place)} is missing in config/open.yaml"


def test_the_example_is_what_the_code_describes() -> None:
    hint = "write it anew: tim-server generate-config --all-options > config/open.yaml"
    assert (EXAMPLES / "open.yaml").read_text() == render_all_options(), hint


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_load(path: Path) -> None:
    assert load_settings(path, {}).tenants


def test_the_example_holds_the_defaults() -> None:
    loaded = load_settings(EXAMPLES / "open.yaml", {})
    plain = Settings.model_validate({"data_dir": "/var/lib/tim-server", "tenants": [{"server_name": "example.org"}]})
    assert loaded == plain


def test_options_without_a_value_load_when_their_example_is_used(tmp_path: Path) -> None:
    """What is commented out with a value is right once the comment sign is gone."""
    lines = (EXAMPLES / "open.yaml").read_text().split("# Several homeservers")[0].splitlines()
    for number, line in enumerate(lines):
        content = line.lstrip()
        name = content.removeprefix("# ").partition(":")[0]
        is_option = content.startswith("# ") and any(place[-1] == name for place, _ in ALL_OPTIONS)
        if not is_option or name in ("key", "master_key", "former_master_key", "server_name"):
            continue
        edited = [*lines[:number], line.replace("# ", "", 1), *lines[number + 1 :]]
        if f"{name}: [" in lines[number + 1] or f"{name}: {{" in lines[number + 1]:
            del edited[number + 1]
        if name == "direct_dsn":
            edited[number] = edited[number].replace("direct_dsn", "dsn")
        path = tmp_path / "tim.yaml"
        path.write_text("\n".join(edited))
        assert yaml.safe_load(path.read_text())
        load_settings(path, {})
