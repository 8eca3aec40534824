"""Ids of RunComfy's models: which texts are ids, and their place in a URL."""

from typing import Final
from urllib.parse import quote

MAX_MODEL_ID_LENGTH: Final = 256
_NAME: Final = r"(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f]+"
MODEL_ID_PATTERN: Final = f"^{_NAME}(?:/{_NAME})*$"
"""The rule of `is_model_id` for the API's description, as far as a pattern can state it."""
MODEL_PATTERN: Final = r"^[^\x00-\x1f\x7f]{1,256}$"
"""What a pattern of model ids may be: an id in which `*` stands for any text."""
# `.` and `..` would change the path of the URL that the id becomes part of.
_MAX_ECHOED: Final = 50
_PATH_STEPS: Final = frozenset({"", ".", ".."})


def is_model_id(text: str) -> bool:
    """Return whether `text` is a well-formed model id: printable names separated by slashes.

    RunComfy's ids hold spaces, dots and capitals: `minimax/Hailuo Video 01 Live`.
    """
    return (
        len(text) <= MAX_MODEL_ID_LENGTH
        and text.isprintable()
        and _PATH_STEPS.isdisjoint(text.split("/"))
    )


def check_aliases(aliases: dict[str, str]) -> dict[str, str]:
    """Return model ids by alias. Raises `ValueError` unless both are well-formed model ids."""
    for alias, model_id in aliases.items():
        if not is_model_id(alias) or not is_model_id(model_id):
            raise ValueError(
                "must map names to model ids, all of printable text: "
                f"{alias[:_MAX_ECHOED]} -> {model_id[:_MAX_ECHOED]} does not"
            )
    return aliases


def build_model_path(model_id: str) -> str | None:
    """Return the model's URL path, quoted; None for a text that is not a model id."""
    return f"/v1/models/{quote(model_id)}" if is_model_id(model_id) else None
