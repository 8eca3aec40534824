"""The option `--env-file`: it stands for `GATEWAY_ENV_FILE`."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

ENV_FILE_VARIABLE: Final = "GATEWAY_ENV_FILE"


def use_env_file(path: Path | None) -> None:
    """Read settings of this process, and of those that it starts, from the file too."""
    if path is not None:
        os.environ[ENV_FILE_VARIABLE] = str(path.resolve())  # noqa: TID251 - children read it too


EnvFileOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Read settings from this file too; the environment comes first.",
    ),
]
