"""`python -m deploy.check_manifests`: the Kubernetes manifests before the judges that can be had without a cluster."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from deploy.manifests import FOLDER, OVERLAYS, Manifest, build, parsed
from index.cli import command_line, run_cli
from index.errors import InputError

KUBERNETES = ("1.33", "1.35", "1.37")
CUSTOM = "monitoring.coreos.com/"  # Kubernetes itself has no schema for these

WRONG = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: wrong}
spec:
  replics: 3
  selector: {matchLabels: {app: wrong}}
  template:
    metadata: {labels: {app: wrong}}
    spec: {hostNetwork: true, containers: [{name: wrong, image: wrong}]}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: wrong}
spec: {selector: {}, endpoints: [{port: http, intervall: 15s}]}
"""

app = command_line()


@dataclass(frozen=True)
class CheckResult:
    """One line of the report."""

    said: str
    holds: bool
    found: str


@app.command()
def check(
    overlays: Annotated[list[Path] | None, typer.Argument(help="Folders to build. [default: all of ours]")] = None,
    *,
    tools: Annotated[Path, typer.Option(help="Environment with deploy/check-requirements.txt.")] = Path(".venv-check"),
) -> None:
    """Build each overlay with kubectl and judge it: schemas of three versions of Kubernetes, checkov.

    Prints one line a check; the exit status is 1 where one fails. First of all each judge must refuse what is wrong.

    Example: python -m deploy.check_manifests my/overlay
    """
    if not (tools / "bin" / "checkov").exists():
        raise InputError(f"{tools} has no checkov; expected what `make check-deploy` installs there")
    folders = overlays or [FOLDER / "overlays" / name for name in OVERLAYS]
    results = [shown(said, verdict) for said, verdict in everything(folders, (tools / "bin").absolute())]
    sys.exit(0 if all(results) else 1)


def shown(what: str, verdict: CheckResult) -> bool:
    """Print one line; whether the check holds."""
    mark = "[green]ok    [/]" if verdict.holds else "[red]FAILED[/]"
    console = Console(soft_wrap=True, highlight=False)
    console.print(mark, end=" ")
    console.print(f"{what}: {verdict.said}: {verdict.found}", markup=False)
    return verdict.holds


def everything(folders: Iterable[Path], programs: Path) -> Iterator[tuple[str, CheckResult]]:
    """The judges of something wrong, then the folders before the judges."""
    with tempfile.TemporaryDirectory(prefix="anchorrec-wrong-") as folder:
        (Path(folder) / "wrong.yaml").write_text(WRONG)
        (Path(folder) / "kustomization.yaml").write_text("resources: [wrong.yaml]\n")
        _, *judged = verdicts(Path(folder), programs)
        for verdict in judged:
            yield (
                "something wrong",
                CheckResult(verdict.said, not verdict.holds, "passed" if verdict.holds else "refused"),
            )
    for folder_of_ours in folders:
        for verdict in verdicts(folder_of_ours, programs):
            yield folder_of_ours.name, verdict


def verdicts(folder: Path, programs: Path) -> Iterator[CheckResult]:
    """Every check of one overlay, the quick ones first."""
    manifests = parsed(build(folder))
    yield CheckResult("kubectl kustomize", True, f"{len(manifests)} manifests")
    known = [manifest for manifest in manifests if not manifest["apiVersion"].startswith(CUSTOM)]
    with tempfile.TemporaryDirectory(prefix="anchorrec-manifests-") as kept:
        file = Path(kept) / "manifests.yaml"
        file.write_text(yaml.safe_dump_all(known))
        for version in KUBERNETES:
            yield schemas(programs, file, version, len(known))
        if custom := [manifest for manifest in manifests if manifest not in known]:
            yield custom_resources(programs, custom)
        yield scanned(programs, file)


def schemas(programs: Path, file: Path, version: str, number: int) -> CheckResult:
    """By the schemas of one version of Kubernetes; a field that it does not know fails, so does an unknown kind."""
    done = _run(programs / "kubernetes-validate", "-k", version, "--strict", "--quiet", file)
    said = (done.stdout + done.stderr).strip()
    holds = not done.returncode and not said  # a kind without a schema is told of, at no cost to the exit status
    return CheckResult(f"kubernetes-validate {version} --strict", holds, said or f"{number} manifests")


def custom_resources(programs: Path, manifests: list[Manifest]) -> CheckResult:
    """By models of the Prometheus operator's CRDs."""
    text = yaml.safe_dump_all(manifests)
    done = _run(programs / "python", "-m", "deploy.custom_resources", given=text)
    kinds = ", ".join(sorted(manifest["kind"] for manifest in manifests))
    return CheckResult(
        "CRDs of the Prometheus operator", not done.returncode, kinds if not done.returncode else done.stdout
    )


def scanned(programs: Path, file: Path) -> CheckResult:
    """By checkov's policies for Kubernetes; every exception has a reason in the manifest that it is made for."""
    done = _run(programs / "checkov", "-f", file, "--framework", "kubernetes", "--compact", "-o", "json")
    report = json.loads(done.stdout)
    results = report["results"]
    failed = [f"{one['check_id']} {one['check_name']} ({one['resource']})" for one in results["failed_checks"]]
    bare = [one["check_id"] for one in results["skipped_checks"] if not one["check_result"].get("suppress_comment")]
    found = [*failed, *(f"{check} is skipped without a reason" for check in bare)]
    counts = f"{report['summary']['passed']} passed, {report['summary']['skipped']} skipped, each with its reason"
    return CheckResult("checkov", not found and report["summary"]["passed"] > 0, "; ".join(found) or counts)


def _run(program: Path, *arguments: str | Path, given: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program, *arguments], input=given, capture_output=True, text=True, check=False, cwd=FOLDER.parent
    )


if __name__ == "__main__":
    run_cli(app)
