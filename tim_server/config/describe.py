"""The configuration file that shows every option with its description and default: `config/open.yaml`."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from tim_server.config.base import Section
from tim_server.config.rate_limits import BucketSettings
from tim_server.config.settings import Settings, TenantSettings

LINE_LENGTH = 118
HEADER = """\
Configuration of tim-server: every option, with its default.

Options that need no change may be left out. An unknown option is an error; `tim-server check-config` finds it. The
environment variable TIM_SERVER__SECTION__OPTION overrides an option, and secrets may be kept in files of their own
(`dsn_file` instead of `dsn`). Relative paths start from the folder of this file.
"""
_EXPLICIT: Mapping[str, Any] = {"server_name": "example.org", "data_dir": "/var/lib/tim-server"}
_SECOND_OF_SEVERAL = """\
Several homeservers in one process: instead of server_name and the sections that stand after it, a list of them.
tenants:
  - server_name: north.example.org
    database:
      dsn: postgresql://north:password@127.0.0.1:5432/tim
  - server_name: south.example.org
    database:
      dsn: postgresql://south:password@127.0.0.1:5432/tim
"""


def render_all_options() -> str:
    """A complete configuration file, in which only `server_name` and `data_dir` are not defaults."""
    defaults = Settings.model_validate({"data_dir": "/", "tenants": [{"server_name": "example.org"}]})
    lines = [*_comment(HEADER, 0), ""]
    lines += _option("server_name", TenantSettings.model_fields["server_name"], _EXPLICIT["server_name"], 0)
    for name, field in Settings.model_fields.items():
        if name in ("tenants", "database"):
            continue
        lines += ["", *_option(name, field, _EXPLICIT.get(name, getattr(defaults, name)), 0)]
    tenant = defaults.tenants[0]
    for name, field in TenantSettings.model_fields.items():
        if name == "server_name":
            continue
        lines += ["", *_option(name, field, getattr(tenant, name), 0)]
        if name == "database":
            lines += _options(defaults.database, 2)
    lines += ["", *_comment(_SECOND_OF_SEVERAL, 0)]
    return "\n".join(lines) + "\n"


def _options(section: BaseModel, indent: int, *, with_comments: bool = True) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        yield from _option(name, field, getattr(section, name), indent, with_comments=with_comments)


def _option(name: str, field: FieldInfo, value: Any, indent: int, *, with_comments: bool = True) -> Iterator[str]:
    """The description as a comment, then the option; one without a value is shown by its example, as a comment."""
    blank = " " * indent
    if with_comments:
        yield from _comment(field.description or "", indent)
    if isinstance(value, BucketSettings):
        yield f"{blank}{name}: {_inline(value.model_dump())}"
    elif isinstance(value, Section):
        yield f"{blank}{name}:"
        yield from _options(value, indent + 2, with_comments=with_comments)
    elif isinstance(value, tuple) and value and isinstance(value[0], Section):
        yield f"{blank}{name}:"
        for index, item in enumerate(value):
            first, *rest = _options_with_first_dash(item, indent + 2, with_comments=with_comments and index == 0)
            yield first
            yield from rest
    elif value in (None, (), {}):
        example = (field.examples or [None])[0]
        if example is not None:
            yield f"{blank}# {name}: {_inline(example)}"
        if value is not None:
            yield f"{blank}{name}: {_inline(value)}"
    else:
        yield f"{blank}{name}: {_inline(value)}"


def _options_with_first_dash(section: BaseModel, indent: int, *, with_comments: bool) -> Iterator[str]:
    """The options of one entry of a list: the first one that is not a comment carries the dash."""
    has_dash = False
    for line in _options(section, indent + 2, with_comments=with_comments):
        if has_dash or line.lstrip().startswith("#"):
            yield line
        else:
            has_dash = True
            yield f"{' ' * indent}- {line.lstrip()}"


def _comment(text: str, indent: int) -> list[str]:
    prefix = " " * indent + "#"
    lines: list[str] = []
    for paragraph in text.splitlines():
        is_sample = paragraph.startswith(" ")
        lines += [paragraph] if is_sample else textwrap.wrap(paragraph, LINE_LENGTH - indent - 2) or [""]
    return [f"{prefix} {line}".rstrip() for line in lines]


def _inline(value: Any) -> str:
    """`value` on one line of YAML."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, int | float | list | dict):
        value = str(value)
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
        .strip()
        .removesuffix("...")
        .strip()
    )
