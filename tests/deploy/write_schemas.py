"""Writes tests/deploy/schemas: strict JSON Schemas of the Kubernetes objects that are deployed.

Run `python -m tests.deploy.write_schemas` where Go is installed. The sources are Go modules:
Kubernetes's OpenAPI document, and the definitions of custom resources.
"""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

Schema = dict[str, Any]
FOLDER: Final = Path(__file__).with_name("schemas")
KUBERNETES: Final = ("v1.34.4", "v1.35.4", "v1.36.3")
KINDS: Final = (
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.api.apps.v1.StatefulSet",
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "io.k8s.api.core.v1.Pod",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.networking.v1.Ingress",
    "io.k8s.api.networking.v1.NetworkPolicy",
    "io.k8s.api.policy.v1.PodDisruptionBudget",
)
CUSTOM: Final = (
    ("sigs.k8s.io/gateway-api", "v1.3.0", "config/crd/standard/*_httproutes.yaml"),
    ("github.com/kedacore/keda/v2", "v2.21.0", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    *(
        (
            "github.com/prometheus-operator/prometheus-operator",
            "v0.85.0",
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml",
        )
        for kind in ("servicemonitors", "prometheusrules")
    ),
)
_REFERENCE: Final = "#/definitions/"
_KEPT: Final = (
    *("type", "enum", "items", "required", "properties", "additionalProperties", "pattern"),
    *("anyOf", "allOf", "oneOf", "not", "minimum", "maximum", "minItems", "maxItems"),
    *("minLength", "maxLength"),
)


def module_folder(name: str, version: str) -> Path:
    """Return the folder of a Go module, downloaded if it is not there."""
    command = ["go", "mod", "download", "-json", f"{name}@{version}"]
    done = subprocess.run(command, capture_output=True, check=True)
    return Path(json.loads(done.stdout)["Dir"])


def strict(schema: Schema) -> Schema:
    """Return a schema without texts in which an object has no field that is not listed."""
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    found: Schema = {name: _strict_part(name, schema[name]) for name in _KEPT if name in schema}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in found and "additionalProperties" not in found and not is_open:
        found["additionalProperties"] = False
    return found


def _strict_part(name: str, part: Any) -> Any:  # noqa: ANN401 - any value of a schema
    if name == "properties":
        return {field: strict(one) for field, one in part.items()}
    if name in {"items", "additionalProperties"} and isinstance(part, dict):
        return strict(part)
    return part


def references(schema: Any) -> set[str]:  # noqa: ANN401 - any value of a schema
    """Return the names of all definitions that a schema names."""
    if isinstance(schema, list):
        return {name for one in schema for name in references(one)}
    if not isinstance(schema, dict):
        return set()
    own = schema.get("$ref")
    named = {own.removeprefix(_REFERENCE)} if isinstance(own, str) else set()
    return named | {name for one in schema.values() for name in references(one)}


def kubernetes_schema(document: Schema) -> Schema:
    """Return the definitions that `KINDS` need, with a map from apiVersion and kind to theirs."""
    definitions: dict[str, Schema] = {}
    wanted = set(KINDS)
    while missing := wanted - definitions.keys():
        for name in missing:
            definitions[name] = strict(document["definitions"][name])
            if name.endswith(".Quantity"):
                definitions[name] = {"type": ["string", "number"]}
            if name.endswith(".IntOrString"):
                definitions[name] = {"type": ["string", "integer"]}
            wanted |= references(definitions[name])
    kinds = {}
    for name in KINDS:
        (meaning,) = document["definitions"][name]["x-kubernetes-group-version-kind"]
        group = f"{meaning['group']}/" if meaning["group"] else ""
        kinds[f"{group}{meaning['version']} {meaning['kind']}"] = name
    return {"kinds": kinds, "definitions": definitions}


def custom_schema(definition: Schema) -> tuple[str, Schema]:
    """Return apiVersion and kind of a CustomResourceDefinition, and the schema of its objects."""
    spec = definition["spec"]
    (version,) = [one for one in spec["versions"] if one["storage"]]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return f"{spec['group']}/{version['name']} {spec['names']['kind']}", schema


def write(name: str, document: Schema) -> None:
    """Write a file of schemas, one definition a line, so that a change is small."""
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, sort_keys=True, separators=(',', ':'))}"
        for key, value in sorted(document["definitions"].items())
    )
    kinds = json.dumps(document["kinds"], indent=1, sort_keys=True)
    (FOLDER / name).write_text(f'{{"kinds": {kinds},\n"definitions": {{\n{lines}\n}}}}\n')


def main() -> None:
    """Write every file."""
    for version in KUBERNETES:
        source = module_folder("k8s.io/kubernetes", version) / "api/openapi-spec/swagger.json"
        write(f"kubernetes-{version}.json", kubernetes_schema(json.loads(source.read_text())))
    custom = {}
    for module, version, pattern in CUSTOM:
        (path,) = module_folder(module, version).glob(pattern)
        kind, schema = custom_schema(yaml.safe_load(path.read_text()))
        custom[kind] = schema
    write(
        "custom-resources.json", {"kinds": {kind: kind for kind in custom}, "definitions": custom}
    )


if __name__ == "__main__":
    main()
