"""Queries on the manifests that kubectl builds from our overlays."""

from collections.abc import Iterable, Iterator
from functools import cache

from deploy.manifests import FOLDER, Manifest, build, parsed


@cache
def overlay(name: str) -> list[Manifest]:
    """Return the manifests of one of our overlays; they are cached and must not be changed."""
    return parsed(build(FOLDER / "overlays" / name))


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
