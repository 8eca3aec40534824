"""Writes deploy/k8s: the chart's manifests with its default values, for kustomize.

Run `python -m deploy.helm.render` after a change of the chart; it needs `helm`. A test fails while
the manifests are stale, on a machine without helm too, by the digest of the chart.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy/helm/runcomfy-gateway"
MANIFESTS: Final = ROOT / "deploy/k8s"
DIGEST: Final = MANIFESTS / "chart.sha256"
RELEASE: Final = "runcomfy-gateway"
KUBERNETES: Final = "1.34.4"
"""For templates. A helm built from its Go module would take a very old version for its own."""
KUSTOMIZED: Final = {
    "settings": "base/settings.yaml",
    "service": "base/service.yaml",
    "worker": "base/worker.yaml",
    "network": "base/network.yaml",
    "redis": "overlays/standalone/redis.yaml",
}
"""Templates by name, and the file of each below `MANIFESTS`."""
HEAD: Final = (
    "# Made by `make manifests` from deploy/helm/runcomfy-gateway; edit the chart instead.\n"
)
_SOURCE: Final = re.compile(
    r"^---\n# Source: runcomfy-gateway/templates/(\S+)\.yaml\n", re.MULTILINE
)


def helm(*arguments: str | Path) -> str:
    """Run helm and return its output.

    Raises:
        FileNotFoundError: helm is not installed.
        subprocess.CalledProcessError: it refused; its reason is in `stderr`.
    """
    command = shutil.which("helm")
    if command is None:
        raise FileNotFoundError("helm is not installed")
    words = [command, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - no shell
    return done.stdout


def render(values: Sequence[str | Path] = (), *options: str) -> str:
    """Return the chart's manifests with files of values over its own."""
    files = [word for path in values for word in ("--values", path)]
    return helm("template", RELEASE, CHART, "--kube-version", KUBERNETES, *files, *options)


def by_template(text: str) -> dict[str, str]:
    """Return the manifests that `helm template` wrote by the template that they are from."""
    _, *parts = _SOURCE.split(text)
    found: dict[str, list[str]] = {}
    for name, manifest in zip(parts[::2], parts[1::2], strict=True):
        found.setdefault(name, []).append(manifest.strip("\n") + "\n")
    return {name: "---\n".join(manifests) for name, manifests in found.items()}


def chart_digest() -> str:
    """Return a digest of all of the chart that the manifests are made of."""
    templates = [CHART / f"templates/{name}.yaml" for name in KUSTOMIZED]
    digest = sha256()
    for path in [CHART / "Chart.yaml", CHART / "values.yaml", *templates, *CHART.rglob("*.tpl")]:
        digest.update(path.read_bytes())
    return digest.hexdigest() + "\n"


def kustomize_files() -> dict[Path, str]:
    """Return the text of every generated file of `MANIFESTS`."""
    manifests = by_template(render((), "--set", "redis.enabled=true", "--skip-tests"))
    files = {MANIFESTS / path: HEAD + manifests[name] for name, path in KUSTOMIZED.items()}
    return {DIGEST: chart_digest(), **files}


def main() -> int:
    """Write the files. Returns the exit code."""
    try:
        files = kustomize_files()
    except FileNotFoundError as missing:
        print(f"manifests: {missing}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as refused:
        print(refused.stderr, file=sys.stderr)
        return 1
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
