"""The check of names itself; `make check-gpu` runs it against the real wheel, which tests do not download."""

from pathlib import Path

import forkserver
import pytest

from index.gpu_names import CLASSES, FUNCTIONS, missing_kinds, wrong_names


def package(folder: Path, *, without: str = "", renamed: str = "") -> Path:
    """The source of a wheel with the names that the service uses."""
    texts = {"swigfaiss.py": "", "gpu_wrappers.py": ""}
    for name, (file, parameters) in FUNCTIONS.items():
        words = ", ".join(parameters).replace(renamed or "\0", "other")
        texts[file] += f"def {name}({words}):\n    pass\n"
    for name, attributes in CLASSES.items():
        body = "".join(f"    {one} = property()\n" for one in attributes if one != without)
        texts["swigfaiss.py"] += f"class {name}(object):\n{body}    pass\n"
    for file, text in texts.items():
        (folder / file).write_text(text)
    return folder


def test_a_wheel_with_all_names_passes_and_lacks_cagra(tmp_path: Path) -> None:
    assert wrong_names(package(tmp_path)) == []
    assert missing_kinds(tmp_path) == ["no GpuIndexCagra: CAGRA needs a FAISS that is built with cuVS"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"without": "useFloat16"}, "GpuClonerOptions lacks useFloat16"),
        ({"renamed": "options"}, "index_cpu_to_gpu has parameters ['provider', 'device', 'index', 'other']"),
    ],
)
def test_a_name_that_has_changed_is_told(tmp_path: Path, change: dict[str, str], said: str) -> None:
    (found,) = wrong_names(package(tmp_path, **change))
    assert said in found


def test_without_a_gpu_the_check_ends_with_one_sentence_and_status_2() -> None:
    done = forkserver.run("service", module="index.check_gpu")
    assert done.returncode == 2
    assert done.stderr == (
        "error: FAISS sees no GPU here, so nothing was run on one; it needs the extra gpu and a driver\n"
    )
