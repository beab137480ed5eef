"""Prometheus with the rules that ship, looking often enough to see a fault that lasts seconds."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from deploy.rehearsal.process import Process
from deploy.stack import HOST, free_port

RULES = Path(__file__).parent.parent / "prometheus"
RULE_FILES = ("recording.yml", "alerts.yml")
EVERY = "2s"
JOB = "reco"  # the alerts know it by this name


def prometheus(program: str, folder: Path, ports: Sequence[int]) -> tuple[Process, int]:
    """The process, to be started, and its port. It scrapes the replicas on these ports."""
    folder.mkdir()
    for name in RULE_FILES:
        text = (RULES / name).read_text(encoding="utf-8")
        # Windows, thresholds and patience stay as they ship; only how often a rule is looked at is another.
        (folder / name).write_text(re.sub(r"^( *interval:) .*", rf"\1 {EVERY}", text, flags=re.MULTILINE))
    targets = [f"{HOST}:{port}" for port in ports]
    config = {
        "global": {"scrape_interval": EVERY, "scrape_timeout": "1s", "evaluation_interval": EVERY},
        "rule_files": list(RULE_FILES),
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={HOST}:{port}",
    ]
    return Process("prometheus", command, folder / "log"), port
