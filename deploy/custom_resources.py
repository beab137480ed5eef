"""`python -m deploy.custom_resources < MANIFESTS`: what the Prometheus operator reads, by models made of its CRDs.

Runs where cloudcoil-models-prometheus-operator is installed (`make check-deploy`), which the rest of the project has
not. The models let unknown fields pass and drop them; so what comes out again must be what went in.
"""

import sys
from typing import Any

import yaml
from cloudcoil.models.prometheus_operator import v1
from pydantic import ValidationError

MODELS = {"ServiceMonitor": v1.ServiceMonitor, "PrometheusRule": v1.PrometheusRule}


def lost(given: Any, kept: Any, path: str) -> list[str]:
    """Paths of what is in `given` and not, or not the same, in `kept`."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [said for name in given for said in lost(given[name], kept.get(name), f"{path}.{name}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        return [said for number, (one, other) in pairs for said in lost(one, other, f"{path}[{number}]")]
    return [] if given == kept else [f"{path}: the CRD has no such field, or not with {given!r:.60}"]


def faults(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with one manifest, in words."""
    try:
        kept = MODELS[manifest["kind"]].model_validate(manifest)
    except ValidationError as error:
        return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return lost(manifest, kept.model_dump(mode="json", by_alias=True, exclude_unset=True), "")


if __name__ == "__main__":
    manifests = list(yaml.safe_load_all(sys.stdin))
    found = [f"{one['kind']} {one['metadata']['name']}: {said}" for one in manifests for said in faults(one)]
    print("\n".join(found))
    sys.exit(bool(found))
