"""Kubernetes objects as data, and the strict schemas of several versions of Kubernetes."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import yaml

Manifest = dict[str, Any]
SCHEMAS: Final = Path(__file__).parents[1] / "deploy/schemas"
VERSIONS: Final = tuple(sorted(path.stem for path in SCHEMAS.glob("kubernetes-*.json")))
CUSTOM_RESOURCES: Final = "custom-resources"


def load(text: str) -> list[Manifest]:
    """The objects of a file of several documents."""
    return [document for document in yaml.safe_load_all(text) if document is not None]


def of_kind(manifests: Iterable[Manifest], *kinds: str) -> dict[str, Manifest]:
    """The objects of these kinds by name."""
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] in kinds}


def pods(manifests: Iterable[Manifest]) -> dict[str, Manifest]:
    """The specification of every pod, by the name of its Deployment or StatefulSet, or its own."""
    found = of_kind(manifests, "Deployment", "StatefulSet", "Pod")
    return {
        name: each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]
        for name, each in found.items()
    }


def secrets_of(pod: Manifest) -> set[str]:
    """The secrets that a pod's processes are given as variables."""
    given = [entry for c in pod["containers"] for entry in c.get("envFrom", ())]
    return {entry["secretRef"]["name"] for entry in given if "secretRef" in entry}


@cache
def _schemas(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return document


@cache
def _validator(name: str, kind: str) -> jsonschema_rs.Validator | None:
    document = _schemas(name)
    if kind not in document["kinds"]:
        return None
    definition = document["definitions"][document["kinds"][kind]]
    return jsonschema_rs.validator_for({**definition, "definitions": document["definitions"]})


def faults(manifest: Manifest, version: str) -> list[str]:
    """What a version of Kubernetes would refuse in an object; an unknown field is a fault too."""
    kind = f"{manifest['apiVersion']} {manifest['kind']}"
    validator = _validator(version, kind) or _validator(CUSTOM_RESOURCES, kind)
    if validator is None:
        return [f"{kind}: unknown"]
    found = validator.iter_errors(manifest)
    return [f"{kind} {'/'.join(map(str, one.instance_path))}: {one.message}" for one in found]
