"""`python -m deploy.check_manifests`: check the Kubernetes manifests with tools that need no cluster."""

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

INVALID = """
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

    check: str
    passed: bool
    found: str


@app.command()
def check(
    overlays: Annotated[list[Path] | None, typer.Argument(help="Folders to build. [default: all of ours]")] = None,
    *,
    tools: Annotated[Path, typer.Option(help="Environment with deploy/check-requirements.txt.")] = Path(".venv-check"),
) -> None:
    """Build each overlay with kubectl and check it: schemas of three Kubernetes versions, CRDs, checkov.

    Prints one line per check; the exit status is 1 where one fails. First each tool must refuse an invalid manifest.

    Example: python -m deploy.check_manifests my/overlay
    """
    if not (tools / "bin" / "checkov").exists():
        raise InputError(f"{tools} has no checkov; expected what `make check-deploy` installs there")
    folders = overlays or [FOLDER / "overlays" / name for name in OVERLAYS]
    passed = [show(name, result) for name, result in all_results(folders, (tools / "bin").absolute())]
    sys.exit(0 if all(passed) else 1)


def show(name: str, result: CheckResult) -> bool:
    """Print one line and return whether the check passed."""
    console = Console(soft_wrap=True, highlight=False)
    console.print("[green]ok    [/]" if result.passed else "[red]FAILED[/]", end=" ")
    console.print(f"{name}: {result.check}: {result.found}", markup=False)
    return result.passed


def all_results(folders: Iterable[Path], programs: Path) -> Iterator[tuple[str, CheckResult]]:
    """Check that each tool refuses invalid manifests, then check the folders."""
    with tempfile.TemporaryDirectory(prefix="anchorrec-invalid-") as folder:
        (Path(folder) / "invalid.yaml").write_text(INVALID)
        (Path(folder) / "kustomization.yaml").write_text("resources: [invalid.yaml]\n")
        _, *results = results_of(Path(folder), programs)
        for one in results:
            yield "invalid manifests", CheckResult(one.check, not one.passed, "accepted" if one.passed else "refused")
    for overlay_folder in folders:
        for one in results_of(overlay_folder, programs):
            yield overlay_folder.name, one


def results_of(folder: Path, programs: Path) -> Iterator[CheckResult]:
    """Run every check on one overlay, the fast ones first."""
    manifests = parsed(build(folder))
    yield CheckResult("kubectl kustomize", True, f"{len(manifests)} manifests")
    built_in = [manifest for manifest in manifests if not manifest["apiVersion"].startswith(CUSTOM)]
    with tempfile.TemporaryDirectory(prefix="anchorrec-manifests-") as temporary:
        file = Path(temporary) / "manifests.yaml"
        file.write_text(yaml.safe_dump_all(built_in))
        for version in KUBERNETES:
            yield check_schemas(programs, file, version, len(built_in))
        if custom := [manifest for manifest in manifests if manifest not in built_in]:
            yield check_custom_resources(programs, custom)
        yield check_policies(programs, file)


def check_schemas(programs: Path, file: Path, version: str, number: int) -> CheckResult:
    """Validate against the schemas of one Kubernetes version; unknown fields and unknown kinds are errors."""
    done = _run(programs / "kubernetes-validate", "-k", version, "--strict", "--quiet", file)
    output = (done.stdout + done.stderr).strip()
    passed = not done.returncode and not output  # a kind without a schema is reported with exit status 0
    return CheckResult(f"kubernetes-validate {version} --strict", passed, output or f"{number} manifests")


def check_custom_resources(programs: Path, manifests: list[Manifest]) -> CheckResult:
    """Validate against models of the Prometheus operator's CRDs."""
    text = yaml.safe_dump_all(manifests)
    done = _run(programs / "python", "-m", "deploy.custom_resources", given=text)
    kinds = ", ".join(sorted(manifest["kind"] for manifest in manifests))
    passed = not done.returncode
    return CheckResult("CRDs of the Prometheus operator", passed, kinds if passed else done.stdout)


def check_policies(programs: Path, file: Path) -> CheckResult:
    """Scan with checkov's policies for Kubernetes; every skipped policy needs a reason in the manifest."""
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
