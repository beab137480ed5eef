"""`python -m deploy.custom_resources < MANIFESTS`: validate manifests for the Prometheus operator against its CRDs.

Runs in the environment of `make check-deploy`, which has cloudcoil-models-prometheus-operator. The models drop unknown
fields without an error; therefore the output is compared with the input.
"""

import sys
from typing import Any

import yaml
from cloudcoil.models.prometheus_operator import v1
from pydantic import ValidationError

MODELS = {"ServiceMonitor": v1.ServiceMonitor, "PrometheusRule": v1.PrometheusRule}


def dropped(given: Any, parsed: Any, path: str) -> list[str]:
    """Return the paths of `given` that are missing or different in `parsed`."""
    if isinstance(given, dict) and isinstance(parsed, dict):
        return [line for name in given for line in dropped(given[name], parsed.get(name), f"{path}.{name}")]
    if isinstance(given, list) and isinstance(parsed, list) and len(given) == len(parsed):
        pairs = enumerate(zip(given, parsed, strict=True))
        return [line for number, (one, other) in pairs for line in dropped(one, other, f"{path}[{number}]")]
    return [] if given == parsed else [f"{path}: the CRD has no such field, or does not allow {given!r:.60}"]


def errors(manifest: dict[str, Any]) -> list[str]:
    """Return the errors of one manifest."""
    try:
        parsed = MODELS[manifest["kind"]].model_validate(manifest)
    except ValidationError as error:
        return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return dropped(manifest, parsed.model_dump(mode="json", by_alias=True, exclude_unset=True), "")


if __name__ == "__main__":
    manifests = list(yaml.safe_load_all(sys.stdin))
    found = [f"{one['kind']} {one['metadata']['name']}: {line}" for one in manifests for line in errors(one)]
    print("\n".join(found))
    sys.exit(bool(found))
