"""Runs a real Prometheus with our rules against local services. Debian's package `prometheus` includes promtool."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.processes import HOST, child, free_port
from deploy.rule_files import FILES, FOLDER
from index.errors import InputError

CONFIG = "prometheus.yml"
JOB = "anchorrec"  # the alerts use this name
TIMEOUT = "1s"  # a replica that hangs counts as down
PACKAGE = "prometheus"  # of Debian


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`. InputError explains how to install it."""
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name} was not found; on Debian it comes with: apt-get install {PACKAGE}")
    return found


def write_config(folder: Path, ports: Sequence[int], interval: str) -> Path:
    """Write our configuration and rules with these local services as targets.

    Scrapes and evaluations happen every `interval` (a second or more); windows and `for` durations stay as they are.
    """
    config = _read(CONFIG)
    config["global"] = {"scrape_interval": interval, "scrape_timeout": TIMEOUT, "evaluation_interval": interval}
    job = next(job for job in config["scrape_configs"] if job["job_name"] == JOB)
    config["scrape_configs"] = [job]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"{HOST}:{port}" for port in ports]}]
    _write(folder / CONFIG, config)
    for name in FILES:
        rules = _read(name)
        for group in rules["groups"]:
            group.pop("interval", None)
        _write(folder / name, rules)
    return folder / CONFIG


@contextmanager
def prometheus(ports: Sequence[int], interval: str = "1s") -> Iterator[httpx.Client]:
    """Run Prometheus on a free port and yield a client once it is ready; its data is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="anchorrec-prometheus-") as folder:
        port = free_port()
        command = [
            program("prometheus"),
            f"--config.file={write_config(Path(folder), ports, interval)}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={HOST}:{port}",
        ]
        with child(command, port, {}, lambda client: client.get("/-/ready").status_code == httpx.codes.OK) as found:
            yield found.client


def query(client: httpx.Client, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return labels and current value of each series of an expression."""
    content = client.post("/api/v1/query", data={"query": expression}).raise_for_status().json()
    if content["data"]["resultType"] == "scalar":
        return [({}, float(content["data"]["result"][1]))]
    return [(one["metric"], float(one["value"][1])) for one in content["data"]["result"]]


def _read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def _write(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
