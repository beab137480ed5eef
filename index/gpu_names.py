"""The names of FAISS's GPU wheel that the service uses, checked against the wheel's own source without a GPU."""

import ast
from collections.abc import Mapping
from pathlib import Path

# Of each function its parameters, of each class attributes that it must have, by file of the package `faiss`.
FUNCTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "get_num_gpus": ("swigfaiss.py", ()),
    "index_cpu_to_gpu": ("swigfaiss.py", ("provider", "device", "index", "options")),
    "index_cpu_to_gpu_multiple_py": ("gpu_wrappers.py", ("resources", "index", "co", "gpus")),
}
CLASSES: Mapping[str, tuple[str, ...]] = {
    "StandardGpuResources": ("setTempMemory",),
    "GpuClonerOptions": ("useFloat16", "allowCpuCoarseQuantizer"),
    "GpuMultipleClonerOptions": ("shard",),
    "GpuIndexFlat": ("copyFrom",),
    "GpuIndexIVFFlat": ("copyFrom",),
    "GpuIndexIVFScalarQuantizer": ("copyFrom",),
}
OPTIONAL: Mapping[str, str] = {"GpuIndexCagra": "CAGRA needs a FAISS that is built with cuVS"}


def wrong_names(package: Path) -> list[str]:
    """What the package folder of a GPU wheel lacks, or has with other parameters; one sentence each."""
    trees = {
        name: ast.parse((package / name).read_text(encoding="utf-8")) for name in ("swigfaiss.py", "gpu_wrappers.py")
    }
    found = []
    for name, (file, parameters) in FUNCTIONS.items():
        arguments = _parameters(trees[file], name)
        if arguments != list(parameters):
            found.append(f"{name} has parameters {arguments}; expected {list(parameters)}")
    for name, attributes in CLASSES.items():
        lacking = set(attributes) - _attributes(trees["swigfaiss.py"], name)
        if lacking:
            found.append(f"{name} lacks {', '.join(sorted(lacking))}")
    return found


def missing_kinds(package: Path) -> list[str]:
    """What the wheel cannot do, though FAISS can; one sentence each."""
    tree = ast.parse((package / "swigfaiss.py").read_text(encoding="utf-8"))
    return [f"no {name}: {why}" for name, why in OPTIONAL.items() if not _attributes(tree, name)]


def _parameters(tree: ast.Module, function: str) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return [argument.arg for argument in node.args.args]
    return None


def _attributes(tree: ast.Module, class_name: str) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
            targets = [target for one in node.body if isinstance(one, ast.Assign) for target in one.targets]
            return methods | {target.id for target in targets if isinstance(target, ast.Name)}
    return set()
