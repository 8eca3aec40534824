"""The options of a submit on the command line: one row for each."""

import inspect
import uuid
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Optional, cast

import typer

from runcomfy_gateway_client.cli.input_values import parse_pairs
from runcomfy_gateway_client.options import SubmitOptions

_HELP_OF_OPTIONS: dict[str, tuple[Any, str]] = {
    "max_cost": (str, "Refuse above this estimate, in USD."),
    "reference": (str, "A reference of yours."),
    "label": (list[str], "NAME:VALUE; repeatable."),
    "priority": (str, "low, normal or high."),
    "cache": (str, "How an equal result may be reused, as in the API."),
    "timeout": (int, "Seconds until it is given up."),
    "start_timeout": (int, "Seconds until it is given up if it has not begun."),
    "not_before": (str, "Submit at this time (ISO 8601 with zone) or later."),
    "webhook": (str, "URL that gets the end."),
    "webhook_intermediate_status": (bool, "Whether the URL gets other statuses too."),
    "idempotency_key": (str, "Repeated with the same key it is paid for once."),
}
"""An option's type and its help text, by its name in Python."""


def with_submit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with an option per row; `options` gets those that were given.

    There is always an idempotency key, so that a repetition after a lost answer can name it.
    """
    signature = inspect.signature(command)
    own = [one for one in signature.parameters.values() if one.name != "options"]
    parameters = [*own, *(_parameter(name) for name in _HELP_OF_OPTIONS)]

    @wraps(command)
    def run(**arguments: Any) -> None:  # noqa: ANN401 - whatever options hold
        given = {name: arguments.pop(name) for name in _HELP_OF_OPTIONS}
        command(**arguments, options=_to_options(given))

    # Typer reads a command's options off its signature and its annotations.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # as documented by inspect
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _parameter(name: str) -> inspect.Parameter:
    kind, text = _HELP_OF_OPTIONS[name]
    annotation: Any = Annotated[Optional[kind], typer.Option(help=text)]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _to_options(given: dict[str, Any]) -> SubmitOptions:
    labels = parse_pairs(given.pop("label") or [], ":")
    options = {name: value for name, value in given.items() if value is not None}
    options.setdefault("idempotency_key", str(uuid.uuid4()))
    return cast("SubmitOptions", {**options, "labels": labels} if labels else options)
