"""A real Prometheus with the rules that ship, which looks at given services; Debian's package has it and promtool."""

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
JOB = "anchorrec"  # the alerts know it by this name
TIMEOUT = "1s"  # a replica that hangs is down, and not late
PACKAGE = "prometheus"  # of Debian


def program(name: str) -> str:
    """Where `prometheus` or `promtool` is. InputError says how to have it."""
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name} was not found; on Debian it comes with: apt-get install {PACKAGE}")
    return found


def write_config(folder: Path, ports: Sequence[int], every: str) -> Path:
    """The configuration that ships, with these services of this machine as its targets, and its rules beside it.

    All is looked at `every` so often, a second or more, whatever intervals are set; windows and patience stay.
    """
    config = _read(CONFIG)
    config["global"] = {"scrape_interval": every, "scrape_timeout": TIMEOUT, "evaluation_interval": every}
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
def prometheus(ports: Sequence[int], every: str = "1s") -> Iterator[httpx.Client]:
    """Prometheus on a free port, ready; its client knows the address. It and its data are gone at the end."""
    with tempfile.TemporaryDirectory(prefix="anchorrec-prometheus-") as folder:
        port = free_port()
        command = [
            program("prometheus"),
            f"--config.file={write_config(Path(folder), ports, every)}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={HOST}:{port}",
        ]
        with child(command, port, {}, lambda client: client.get("/-/ready").status_code == httpx.codes.OK) as found:
            yield found.client


def ask(client: httpx.Client, query: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each series that the query has now."""
    answer = client.post("/api/v1/query", data={"query": query}).raise_for_status().json()
    if answer["data"]["resultType"] == "scalar":
        return [({}, float(answer["data"]["result"][1]))]
    return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]


def _read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def _write(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
