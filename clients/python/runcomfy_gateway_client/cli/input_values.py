"""The input of a submit, from the options of the command."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from runcomfy_gateway_client.clients import Client


def read_input(text: str) -> dict[str, Any]:
    """Return the object in `text`: JSON, `@FILE`, or `-` for stdin."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also not UTF-8
        raise typer.BadParameter(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise typer.BadParameter("the input is a JSON object")
    return document


def parse_pairs(texts: Sequence[str], separator: str = "=") -> dict[str, str]:
    """Return the values by name of texts such as `name=value`."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, found, value = text.partition(separator)
        if not name or not found:
            raise typer.BadParameter(f"{text}: must be NAME{separator}VALUE")
        if name in pairs:
            raise typer.BadParameter(f"{name}: is there twice")
        pairs[name] = value
    return pairs


def parse_value(text: str) -> object:
    """Return the JSON value that `text` is, or else the text itself."""
    try:
        value: object = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text
    return value


def build_input(
    client: Client, base: Mapping[str, Any], fields: Mapping[str, str], files: Mapping[str, str]
) -> dict[str, Any]:
    """Return the input: `base`, with fields set, and with files that are uploaded first."""
    built = {**base, **{name: parse_value(text) for name, text in fields.items()}}
    for name, path in files.items():
        built[name] = upload_file(client, path)["uri"]
    return built


def upload_file(client: Client, path: str) -> Mapping[str, Any]:
    """Return the document of a file that was uploaded."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from None
    return client.upload(content)
