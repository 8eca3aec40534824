"""`rcg file …`: files for inputs."""

from typing import Annotated

import typer

from runcomfy_gateway_client.cli.input_values import upload_file
from runcomfy_gateway_client.cli.output import JsonOption, print_json
from runcomfy_gateway_client.cli.session import gateway

app = typer.Typer(no_args_is_help=True)


@app.callback()
def files() -> None:
    """Keep `upload` a command of a group although it is the only one."""


@app.command()
def upload(
    context: typer.Context,
    path: Annotated[str, typer.Argument(help="A picture, video or sound.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Upload a file, and print the URI that a field of an input takes."""
    with gateway(context, as_json=as_json) as client:
        document = upload_file(client, path)
    print_json(document) if as_json else print(document["uri"])
