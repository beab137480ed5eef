"""Every refusal that callers may get is told of in docs/serving.md, with its status."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import service
from service.errors import ServiceError

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
OF_JOBS = {"launcher_failed", "launcher_unavailable"}  # become a job's reason, never an answer


def kinds(base: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_every_code_stands_on_the_page_beside_its_status() -> None:
    for module in pkgutil.walk_packages(service.__path__, "service."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    told = [line for line in PAGE.splitlines() if line.startswith("| ")]
    ours = [kind for kind in kinds() if kind.__module__.startswith("service.") and "code" in vars(kind)]
    codes = {(kind.status, kind.code) for kind in ours}
    assert len(codes) > 20
    for status, code in sorted(codes):
        if code in OF_JOBS:
            continue
        assert any(f"`{code}`" in line and str(status) in line.split("|")[1] for line in told), f"{status} {code}"
