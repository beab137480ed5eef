"""`python -m deploy.prometheus_rule > deploy/monitoring/prometheusrule.yaml`: the rules of deploy/prometheus as a
manifest for the Prometheus operator. A test fails while the two differ."""

import yaml

from deploy.rule_files import FILES, FOLDER

HEAD = "# Generated from deploy/prometheus by `python -m deploy.prometheus_rule`: change the rules there.\n"


def prometheus_rule() -> str:
    """Return the manifest with the rule groups of all files in their order."""
    files = [yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")) for name in FILES]
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "anchorrec"},
        "spec": {"groups": [group for file in files for group in file["groups"]]},
    }
    return HEAD + yaml.safe_dump(manifest, sort_keys=False, width=120)


if __name__ == "__main__":
    print(prometheus_rule(), end="")
