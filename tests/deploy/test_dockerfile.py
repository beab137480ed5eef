"""The Dockerfile and its lock files: linted, in step with pyproject.toml, and of one mind with the manifests."""

import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.image.__main__ import BUDGET_MB
from deploy.image.dockerfile import Stage, read_stages
from deploy.image.replay import Context
from deploy.image.root import enter_namespace
from deploy.manifests import of_kind, one, overlay
from index.errors import InputError

HERE = Path(__file__).parents[2]
LOCKS = HERE / "requirements"
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SERVICE = ("service", "tracing", "kubernetes")
EXTRAS = {
    "service-cpu": ("cpu", *SERVICE),
    "service-gpu": ("gpu", *SERVICE),
    "trainer-cpu": ("cpu", "trainer"),
    "trainer-gpu": ("cpu", "trainer"),
}
FLAVOURS = {"cpu": "service-cpu", "gpu": "service-gpu"}


def pinned(lock: str) -> dict[str, Version]:
    """Packages of a lock file and their versions."""
    lines = (LOCKS / f"{lock}.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split(" ")[0].split(";")[0].split("==") for line in lines if line[:1].isalnum()]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def wanted(lock: str) -> list[Requirement]:
    """What the project says that the image needs."""
    names = [*PROJECT["dependencies"], *(n for e in EXTRAS[lock] for n in PROJECT["optional-dependencies"][e])]
    return [Requirement(name) for name in names]


@pytest.fixture
def stages() -> dict[str, Stage]:
    return read_stages(HERE / "Dockerfile", {})


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    found = subprocess.run([hadolint, HERE / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("lock", EXTRAS)
def test_each_direct_dependency_is_locked_in_a_version_that_the_project_takes(lock: str) -> None:
    pins = pinned(lock)
    for requirement in wanted(lock):
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{lock}: {requirement} is locked at {version}; run `make lock`"


@pytest.mark.parametrize("lock", [*EXTRAS, "tools"])
def test_each_locked_version_has_a_hash_and_none_names_where_it_was_found(lock: str) -> None:
    text = (LOCKS / f"{lock}.lock").read_text(encoding="utf-8")
    assert "://" not in text
    for block in text.split("\n    --hash")[0:1] + text.replace(" \\\n    ", " ").splitlines()[2:]:
        assert "--hash=sha256:" in block or block.startswith(("#", "    #"))


def test_the_service_has_neither_torch_nor_pandas_and_one_faiss() -> None:
    for device, lock in FLAVOURS.items():
        assert not {"torch", "pandas", "scipy", "transformers"} & set(pinned(lock))
        assert {name for name in pinned(lock) if name.startswith("faiss")} == {f"faiss-{device}"}


def test_the_trainer_has_the_torch_that_the_suite_runs_with_in_the_build_of_its_device() -> None:
    makefile = (HERE / "Makefile").read_text(encoding="utf-8")
    torch = {lock: pinned(lock)["torch"] for lock in ("trainer-cpu", "trainer-gpu")}
    assert torch == {"trainer-cpu": Version("2.13.0+cpu"), "trainer-gpu": Version("2.13.0")}
    assert "TORCH  ?= torch==2.13.0\n" in makefile
    assert "nvidia-cublas" in pinned("trainer-gpu")
    assert not [name for name in pinned("trainer-cpu") if name.startswith("nvidia")]


def test_stages_are_made_from_what_the_house_says(stages: dict[str, Stage]) -> None:
    assert (stages["service"].parent, stages["trainer"].parent) == ("base", "base")
    assert list(stages)[-1] == "service"  # what is built where no target is named


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_device_chooses_lock_files_that_are_there(device: str) -> None:
    stages = read_stages(HERE / "Dockerfile", {"DEVICE": device})
    copied = [step.words[0] for stage in stages.values() for step in stage.steps if step.instruction == "COPY"]
    locks = [name for name in copied if name.startswith("requirements/")]
    assert set(locks) == {f"requirements/{name}.lock" for name in ("tools", f"service-{device}", f"trainer-{device}")}
    assert all((HERE / name).is_file() for name in locks)


@pytest.mark.parametrize("stage", ["service", "trainer"])
def test_an_image_runs_as_the_user_that_kubernetes_gives_it(stages: dict[str, Stage], stage: str) -> None:
    pod = one(overlay("cpu"), "Deployment", "anchorrec")["spec"]["template"]["spec"]["securityContext"]
    users = [step.words[0] for step in stages[stage].steps if step.instruction == "USER"]
    assert users == [f"{pod['runAsUser']}:{pod['runAsGroup']}"]


def test_the_images_paths_are_those_of_the_manifests(stages: dict[str, Stage]) -> None:
    (environment,) = [step.pairs() for step in stages["service"].steps if step.instruction == "ENV"]
    (settings,) = [m for m in of_kind(overlay("cpu"), "ConfigMap") if "RECO_REGISTRY" in m["data"]]
    for name in ("RECO_HOST", "RECO_PORT", "RECO_REGISTRY", "RECO_DATA"):
        assert environment[name] == settings["data"][name]


def test_what_is_no_dockerfile_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM base\nENV lonely\n")
    with pytest.raises(InputError, match="ENV must have two arguments"):
        read_stages(tmp_path / "Dockerfile", {})


def test_arguments_reach_the_stages_that_name_them(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "ARG A=1\nFROM b AS one\nARG A\nARG B=2\nCOPY $A ${B}\nFROM one AS two\nCOPY $A ${B}\n"
    )
    stages = read_stages(tmp_path / "Dockerfile", {"A": "3"})
    assert [stage.steps[-1].words for stage in stages.values()] == [("3", "2"), ("$A", "${B}")]


def test_copy_sees_what_dockerignore_lets_in_and_nothing_else() -> None:
    context = Context(HERE)
    assert context.find("requirements/tools.lock").is_file()
    with pytest.raises(InputError, match="expected a line !deploy"):
        context.find("deploy/compose.yaml")
    assert context.ignored() == ["__pycache__"]


def test_the_page_quotes_the_budget_that_the_replay_keeps_to() -> None:
    page = (HERE / "docs" / "image.md").read_text(encoding="utf-8")
    assert f"may take {BUDGET_MB} MB" in page


def test_without_root_the_replay_says_that_it_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(InputError, match="needs root"):
        enter_namespace()
