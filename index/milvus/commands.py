"""The commands `load-milvus`, `follow-milvus` and `prune-milvus` of `python -m index`."""

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from index.cli import COPIES, Copies
from index.engine import use_threads
from index.errors import InputError
from index.gate_report import DEFAULT_LIMITS
from index.milvus.names import ALIAS, HNSW, CollectionKind
from index.registry import find_bundle, open_registry

AGAIN_S = 60.0  # after a failure, which may have measured a whole collection
CALL_S = 600.0  # Milvus may take minutes to flush and to load

Uri = Annotated[
    str, typer.Option(envvar="MILVUS_URI", help="Address of Milvus: http://HOST:19530, or https; /DATABASE may follow.")
]
Token = Annotated[str, typer.Option(envvar="MILVUS_TOKEN", help="USER:PASSWORD or a key, where Milvus asks for one.")]
Alias = Annotated[str, typer.Option(help="The alias of the collection of the bundle that serves.")]
IndexType = Annotated[str, typer.Option(help="Milvus's index type: HNSW, IVF_FLAT, IVF_SQ8, DISKANN, FLAT ...")]
Build = Annotated[list[str], typer.Option("--build", metavar="NAME=N", help="Parameter of the build; repeatable.")]
Search = Annotated[list[str], typer.Option("--search", metavar="NAME=N", help="Setting of searches; repeatable.")]
Floor = Annotated[float, typer.Option(min=0, max=1, help="Lowest recall@20 against exact search to serve with.")]
RegistryPlace = Annotated[str, typer.Argument(metavar="REGISTRY", help="The registry of bundles: a path or a URL.")]

BUILD, SEARCH = ([f"{name}={value}" for name, value in given.items()] for given in (HNSW.build, HNSW.search))


def load_milvus(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle, REGISTRY/BUNDLE_ID: a path or a URL.")],
    *,
    uri: Uri,
    token: Token = "",
    index_type: IndexType = HNSW.index_type,
    build: Build = BUILD,
    search: Search = SEARCH,
    floor: Floor = DEFAULT_LIMITS.index_recall_floor,
    copies: Copies = COPIES,
) -> None:
    """Load a bundle's items into a Milvus collection of its own, and measure its recall; a killed run resumes.

    Load before `publish`: replicas that search in Milvus swap to a bundle once its collection is whole.

    Example: python -m index load-milvus bundles/20260101T120000Z-anchorrec-1a2b3c4d --uri http://milvus:19530
    """
    from index.milvus.engine import Milvus, milvus_errors_as_input_errors
    from index.milvus.load import load_from

    use_threads(1)  # as the service searches
    registry, bundle_id = find_bundle(bundle, copies, progress=True)
    with milvus_errors_as_input_errors():
        milvus = Milvus(uri, token, timeout_s=CALL_S)
        load_from(milvus, registry, bundle_id, _kind(index_type, build, search), floor)


def follow_milvus(
    registry: RegistryPlace,
    *,
    uri: Uri,
    token: Token = "",
    alias: Alias = ALIAS,
    index_type: IndexType = HNSW.index_type,
    build: Build = BUILD,
    search: Search = SEARCH,
    floor: Floor = DEFAULT_LIMITS.index_recall_floor,
    ahead: Annotated[
        bool, typer.Option("--ahead", help="Load the newest bundle, too, so that it is there when it is published.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Do it once, for a Job; exit status 2 where it fails.")] = False,
    poll_s: Annotated[float, typer.Option(min=0.1, help="Interval between polls of the pointer.")] = 5.0,
    copies: Copies = COPIES,
) -> None:
    """Load each bundle that the registry's pointer names, then let the alias name its collection.

    Example: python -m index follow-milvus bundles --uri http://milvus:19530
    """
    from index.milvus.engine import Milvus, milvus_errors_as_input_errors
    from index.milvus.load import follow_pointer

    use_threads(1)
    milvus, kind = Milvus(uri, token, timeout_s=CALL_S), _kind(index_type, build, search)
    source = open_registry(registry, copies, progress=True)
    while True:
        wait_s = poll_s
        try:
            with milvus_errors_as_input_errors():
                follow_pointer(milvus, source, kind, floor=floor, alias=alias, ahead=ahead)
        except (InputError, OSError) as error:
            if once:
                raise
            print(f"error: {error}", file=sys.stderr, flush=True)
            wait_s = max(poll_s, AGAIN_S)
        if once:
            return
        time.sleep(wait_s)


def prune_milvus(
    registry: RegistryPlace,
    *,
    uri: Uri,
    token: Token = "",
    alias: Alias = ALIAS,
    after_s: Annotated[float, typer.Option(min=0, help="Refuse while the pointer's last move is younger.")] = 3_600.0,
    copies: Copies = COPIES,
) -> None:
    """Drop the collections of all bundles but the one that serves, a rollback's target, the newest, and the alias' one.

    Replicas swap within seconds of a publish; --after-s leaves them time for their last searches of the bundle before.

    Example: python -m index prune-milvus bundles --uri http://milvus:19530
    """
    from index.milvus.engine import Milvus, milvus_errors_as_input_errors
    from index.milvus.load import drop_others

    source = open_registry(registry, copies)
    serving = source.published().bundle
    moved = source.record(serving).published
    if moved is not None and datetime.now(UTC) - moved.at < timedelta(seconds=after_s):
        raise InputError(f"the pointer moved at {moved.at:%H:%M:%S}; expected that to be {after_s:g} s ago: try later")
    kept = [serving, *source.rollback_targets()[-1:], *source.ids()[:1]]
    with milvus_errors_as_input_errors():
        dropped = drop_others(Milvus(uri, token, timeout_s=CALL_S), kept, alias)
    typer.echo("\n".join(f"dropped {name}" for name in dropped) or "nothing to drop")


def _kind(index_type: str, build: list[str], search: list[str]) -> CollectionKind:
    """The kind of the options; the defaults, which are HNSW's, are left out with another type."""
    if index_type != HNSW.index_type:
        build, search = ([] if pairs == own else pairs for pairs, own in ((build, BUILD), (search, SEARCH)))
    return CollectionKind(index_type, dict(map(_pair, build)), dict(map(_pair, search)))


def _pair(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if not (name.isidentifier() and value.isascii() and value.isdecimal()):
        raise InputError(f"{text!r} is no parameter; expected NAME=N such as ef=128")
    return name, int(value)
