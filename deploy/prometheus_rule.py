"""`python -m deploy.prometheus_rule > deploy/monitoring/prometheusrule.yaml`: the rules of deploy/prometheus, as the
Prometheus operator takes them. A test fails while the two differ."""

import yaml

from deploy.manifests import FOLDER

RULES = ("recording.yml", "alerts.yml")
HEAD = "# Made of deploy/prometheus by `python -m deploy.prometheus_rule`: change the rules there.\n"


def prometheus_rule() -> str:
    """The manifest, with the groups of both files in their order."""
    files = [yaml.safe_load((FOLDER / "prometheus" / name).read_text()) for name in RULES]
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "anchorrec"},
        "spec": {"groups": [group for file in files for group in file["groups"]]},
    }
    return HEAD + yaml.safe_dump(manifest, sort_keys=False, width=120)


if __name__ == "__main__":
    print(prometheus_rule(), end="")
