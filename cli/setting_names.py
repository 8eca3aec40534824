"""Finds `GATEWAY_…` variables that are no setting: a misspelt one would have no effect."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from core.settings.sources import FILE_SUFFIX, Variable, secret_file_names, variables_of

CALLERS_VARIABLES: Final = frozenset({"GATEWAY_URL", "GATEWAY_API_KEY"})
"""What the documentation's examples of callers use; they may be in an operator's shell."""
_MAX_SHOWN_CHARS: Final = 64
_SERVICE_HOST: Final = re.compile(r"(?P<link>\w+)_SERVICE_HOST")


def all_variables() -> Mapping[str, Variable]:
    """Return the variables of services and workers, which may share one file, by name."""
    from service.settings import ServiceSettings  # noqa: PLC0415 - a worker is imported without it
    from worker.settings import WorkerSettings  # noqa: PLC0415 - a service is imported without it

    kinds = (ServiceSettings, WorkerSettings)
    return {each.name: each for kind in kinds for each in variables_of(kind)}


def unknown_names(given: Collection[str], variables: Iterable[Variable]) -> Sequence[str]:
    """Return the names in `given`, all in upper case, that no setting has.

    Variables that Kubernetes sets for a Service named `gateway…` are known.
    """
    listed = list(variables)
    known = {name for each in listed for name in each.names} | CALLERS_VARIABLES
    known |= {name + FILE_SUFFIX for name in secret_file_names(listed)}
    entries = tuple(f"{each.name}__" for each in listed if each.is_mapping)
    links = tuple(
        start
        for found in map(_SERVICE_HOST.fullmatch, given)
        if found
        for start in (f"{found['link']}_SERVICE_", f"{found['link']}_PORT")
    )
    return [
        name for name in sorted(given) if name not in known and not name.startswith(entries + links)
    ]


def describe_unknown(unknown: Sequence[str], variables: Iterable[Variable]) -> str:
    """Return one line that names every unknown variable, with the nearest right name."""
    listed = list(variables)
    names = [each.name for each in listed]
    names += [name + FILE_SUFFIX for name in sorted(secret_file_names(listed))]
    return "no such setting: " + ", ".join(_with_nearest(name, names) for name in unknown)


def _with_nearest(name: str, names: Sequence[str]) -> str:
    shown = name[:_MAX_SHOWN_CHARS]
    near = get_close_matches(shown, names, n=1)
    return f"{shown} (did you mean {near[0]}?)" if near else shown
