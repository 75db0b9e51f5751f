"""Options that many commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="TIM_SERVER_CONFIG", help="The configuration file (YAML).")
]
ServerNameOption = Annotated[
    str | None, typer.Option("--server-name", help="Which homeserver, where the configuration has several.")
]
