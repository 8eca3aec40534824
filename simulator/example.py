"""The example request of RunComfy's API page (Kling 3.0 standard, image to video)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Example:
    """A model and an input for it."""

    model_id: str
    input: Mapping[str, object]

    def curl(self, base_url: str, key: str, *, max_length: int | None = None) -> str:
        """Return a command that submits it; texts are cut to `max_length` characters."""
        fields = {name: _truncate(value, max_length) for name, value in self.input.items()}
        # Inside single quotes a shell interprets nothing but the quote itself.
        body = json.dumps(fields, indent=2, ensure_ascii=False).replace("'", "'\\''")
        return (
            f"curl {base_url}/v1/models/{self.model_id} \\\n"
            f"  -H 'Authorization: Bearer {key}' \\\n"
            f"  -H 'Content-Type: application/json' \\\n"
            f"  -d '{body}'"
        )


def load_kling_example() -> Example:
    """Return the page's example."""
    document = json.loads(files("simulator").joinpath("example.json").read_text("utf-8"))
    return Example(document["model_id"], document["input"])


def _truncate(value: object, length: int | None) -> object:
    too_long = isinstance(value, str) and length is not None and len(value) > length
    return f"{value[:length].rstrip()} …" if too_long and isinstance(value, str) else value
