"""The entry point of `rcg`, which is installed with and without the extra `cli`."""

import sys


def main() -> None:
    """Run the command."""
    try:
        from runcomfy_gateway_client.cli.commands import app  # noqa: PLC0415 - may be missing
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit("rcg: install it with its extra: runcomfy-gateway-client[cli]")
    app()
