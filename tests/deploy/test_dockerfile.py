"""The Dockerfile and its lock files: linted, consistent with pyproject.toml, the manifests and the replay script."""

import os
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
from built_manifests import find, of_kind, overlay
from dockerfile_stages import REPLAY, DockerfileStage, built_for, dockerfile_stages, replay_stages
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).parents[2]
LOCKS = HERE / "requirements"
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SERVICE = ("service", "encode", "tracing", "kubernetes")
EXTRAS = {
    "service-cpu": ("cpu", *SERVICE),
    "service-gpu": ("gpu", *SERVICE),
    "service-milvus": ("cpu", "milvus", *SERVICE),
    "trainer-cpu": ("cpu", "trainer"),
    "trainer-gpu": ("cpu", "trainer"),
}
FLAVOURS = {"cpu": "service-cpu", "gpu": "service-gpu"}


def pinned(lock: str) -> dict[str, Version]:
    """Packages of a lock file and their versions."""
    lines = (LOCKS / f"{lock}.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split(" ")[0].split(";")[0].split("==") for line in lines if line[:1].isalnum()]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def required(lock: str) -> list[Requirement]:
    """What the project says that the image needs."""
    names = [*PROJECT["dependencies"], *(n for e in EXTRAS[lock] for n in PROJECT["optional-dependencies"][e])]
    return [Requirement(name) for name in names]


@pytest.fixture
def stages() -> dict[str, DockerfileStage]:
    return dockerfile_stages()


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    found = subprocess.run([hadolint, HERE / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("lock", EXTRAS)
def test_each_direct_dependency_is_locked_in_a_version_that_the_project_takes(lock: str) -> None:
    pins = pinned(lock)
    for requirement in required(lock):
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


def test_the_service_with_milvus_is_that_for_cpus_and_the_client() -> None:
    plain, ours = pinned("service-cpu"), pinned("service-milvus")
    assert {name: ours.get(name) for name in plain} == plain
    assert set(ours) - set(plain) == {"grpcio", "pandas", "pymilvus"}


def test_the_trainer_has_the_torch_that_the_suite_runs_with_in_the_build_of_its_device() -> None:
    makefile = (HERE / "Makefile").read_text(encoding="utf-8")
    torch = {lock: pinned(lock)["torch"] for lock in ("trainer-cpu", "trainer-gpu")}
    assert torch == {"trainer-cpu": Version("2.13.0+cpu"), "trainer-gpu": Version("2.13.0")}
    assert "TORCH  ?= torch==2.13.0\n" in makefile
    assert "nvidia-cublas" in pinned("trainer-gpu")
    assert not [name for name in pinned("trainer-cpu") if name.startswith("nvidia")]


def test_both_images_build_on_the_base_and_the_service_is_the_default_target(
    stages: dict[str, DockerfileStage],
) -> None:
    assert (stages["service"].parent, stages["trainer"].parent) == ("base", "base")
    assert list(stages)[-1] == "service"


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_lock_files_of_each_device_exist(stages: dict[str, DockerfileStage], device: str) -> None:
    copied = [words[0].replace("${DEVICE}", device) for stage in stages.values() for words in stage.words("COPY")]
    locks = [name for name in copied if name.startswith("requirements/")]
    assert set(locks) == {f"requirements/{name}.lock" for name in ("tools", f"service-{device}", f"trainer-{device}")}
    assert all((HERE / name).is_file() for name in locks)


@pytest.mark.parametrize("stage", ["service", "trainer"])
def test_an_image_runs_as_the_user_that_kubernetes_gives_it(stages: dict[str, DockerfileStage], stage: str) -> None:
    pod = find(overlay("cpu"), "Deployment", "anchorrec")["spec"]["template"]["spec"]["securityContext"]
    assert stages[stage].words("USER") == [[f"{pod['runAsUser']}:{pod['runAsGroup']}"]]


def test_the_images_paths_are_those_of_the_manifests(stages: dict[str, DockerfileStage]) -> None:
    environment = stages["service"].environment()
    (settings,) = [m for m in of_kind(overlay("cpu"), "ConfigMap") if "RECO_REGISTRY" in m["data"]]
    for name in ("RECO_HOST", "RECO_PORT", "RECO_REGISTRY", "RECO_DATA"):
        assert environment[name] == settings["data"][name]


def test_what_is_copied_from_the_repository_is_let_in_by_dockerignore(stages: dict[str, DockerfileStage]) -> None:
    allowed = {line[1:] for line in (HERE / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [words[0] for stage in stages.values() for words in stage.words("COPY") if not words[0].startswith("--")]
    assert {source.partition("/")[0] for source in copied} == allowed


def test_the_replay_has_every_step_of_the_service_and_no_other_in_the_same_order(
    stages: dict[str, DockerfileStage],
) -> None:
    replayed = replay_stages()
    needed = built_for("service", stages)
    assert list(replayed) == [name for name in stages if name in needed]
    for name, stage in replayed.items():
        assert stage == stages[name], name
    assert sum(len(stage.steps) for stage in replayed.values()) > 15


def test_the_page_quotes_the_size_limit_of_the_replay() -> None:
    (limit,) = re.findall(r"^BUDGET_MB=(\d+)", REPLAY.read_text(encoding="utf-8"), re.MULTILINE)
    assert f"may take {limit} MB" in (HERE / "docs" / "image.md").read_text(encoding="utf-8")


def test_without_root_the_replay_reports_that_it_needs_it() -> None:
    done = subprocess.run(
        ["/bin/bash", "-s"],
        input=REPLAY.read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=65534 if os.geteuid() == 0 else None,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: needs root, to make a Debian root and to mount: sudo make check-image\n"
