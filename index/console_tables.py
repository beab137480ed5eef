"""The tables that `python -m index` prints."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table

from index.encoders import Encoders
from index.errors import BundleError, InputError
from index.manifest import AnchorInfo, IndexInfo, Manifest, TablesInfo
from index.recency import Recency
from index.registry import Registry
from index.sizes_table import sizes_table

# Of output that is no terminal, such as a file: rich would cut tables at 80 columns.
PIPED_WIDTH = 1_000
# A timestamp, a model's name of ten letters and eight hex digits.
MIN_ID_WIDTH = 35


def print_table(table: RenderableType) -> None:
    """Print to standard output, wholly where that is no terminal."""
    width = None if Console().is_terminal else PIPED_WIDTH
    Console(markup=False, width=width).print(table)  # a name with brackets is no markup


def bundle_summary(path: Path, manifest: Manifest, encoders: Encoders) -> Group:
    """A bundle's model, data, sizes, encoders, index, bytes by kind of file, and metrics."""
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (_facts(path, manifest) | _encoders(manifest, encoders)).items():
        facts.add_row(name, value)
    splits = manifest.metrics.values()
    metrics = Table("metric", *manifest.metrics, title="metrics", title_justify="left")
    for name in _metric_names(manifest):
        metrics.add_row(name, *(f"{values[name]:.4f}" if name in values else "" for values in splits))
    tables = [facts, sizes_table(path, manifest)]
    tables += [tried_table(manifest.index)] if manifest.index.tried else []
    return Group(*tables, metrics) if manifest.metrics else Group(*tables)


def _facts(path: Path, manifest: Manifest) -> dict[str, str]:
    index = manifest.index
    recall = ", ".join(f"{name} {value:.4f}" for name, value in index.recall.items())
    size = sum((path / name).stat().st_size for name in manifest.files)
    return {
        "bundle": manifest.bundle_id,
        "model": f"{manifest.model}, seed {manifest.seed}",
        "made": f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "data": manifest.data_fingerprint,
        "sizes": f"{manifest.n_users:,} users, {manifest.n_items:,} items, {manifest.n_interactions:,} interactions, "
        f"{manifest.embedding_size} dimensions",
        "parts": ", ".join(manifest.parts),
        "fold-in": manifest.fold_in + ("" if manifest.user_own else "; no user has an own term"),
        "recency": _recency(manifest.recency),
        "anchor": _anchor(manifest.anchor),
        "tables": _tables(manifest.tables),
        "neighbours": ", ".join(manifest.neighbours) or "none",
        "attributes": ", ".join(f"{name} ({kind})" for name, kind in manifest.attribute_types.items()) or "no types",
        "index": f"{index_line(index)}; {recall} against exact search",
        "promise": _promise(index),
        "files": f"{len(manifest.files)}, {size / 1e6:,.1f} MB",
    }


def _encoders(manifest: Manifest, encoders: Encoders) -> dict[str, str]:
    """What encodes raw content of new items, and whether its files are beside the bundles."""
    if not manifest.encoders:
        return {"encoders": "none: new items need ready features"}
    return {
        f"{modality} encoder": f"{one.name} {one.version}, {one.width:,} wide; {_presence(one.digest, encoders)}"
        for modality, one in manifest.encoders.items()
    }


def _presence(digest: str, encoders: Encoders) -> str:
    try:
        encoders.card(digest)
    except (InputError, OSError) as error:
        return f"not usable: {error}"
    return f"encoders/{digest}"


def index_line(index: IndexInfo) -> str:
    """The kind of index, its search settings, and why it was chosen."""
    why = f" ({index.why})" if index.why else ""
    return _with_settings(index.factory, index.settings) + why


def _with_settings(factory: str, settings: Mapping[str, int]) -> str:
    return factory + "".join(f", {name} {value}" for name, value in settings.items())


def _promise(index: IndexInfo) -> str:
    return "none" if index.promised is None else f"recall@20 of {index.promised:g} or more"


def tried_table(index: IndexInfo) -> Table:
    """The kinds of index that were measured before this one was chosen."""
    table = Table(title="kinds of index tried", title_justify="left")
    table.add_column("kind", overflow="fold")
    for name in ("items", "recall@20", "ms", "build s", "bytes an item"):
        table.add_column(name, justify="right")
    table.add_column("outcome", overflow="fold")
    for one in index.tried:
        figures = (
            f"{one.items:,}",
            f"{one.recall:.4f}",
            f"{one.ms:.3f}",
            f"{one.build_s:,.1f}",
            f"{one.bytes_per_item:,.0f}",
        )
        table.add_row(_with_settings(one.factory, one.settings), *figures, one.outcome)
    return table


def _tables(tables: TablesInfo) -> str:
    if not tables.errors:
        return tables.precision
    return f"{tables.precision}, a row off by at most {max(tables.errors.values()):.2g} of its norm"


def _recency(recency: Recency | None) -> str:
    if recency is None:
        return "none: all past items count alike"
    floor = f", floor {recency.floor:g}" if recency.floor else ""
    return f"tau {recency.tau:g} events{floor}; a weight halves every {recency.half_life:.1f} events"


def _anchor(anchor: AnchorInfo | None) -> str:
    if anchor is None:
        return "no arrays"
    widths = ", ".join(f"{modality} {width:,} wide" for modality, width in anchor.widths.items())
    moved = f"kappa {anchor.kappa:g}" if anchor.kappa else "of new items alone"
    return f"{moved}, rho {anchor.rho:g}; {widths}"


def _metric_names(manifest: Manifest) -> list[str]:
    return list(dict.fromkeys(name for values in manifest.metrics.values() for name in values))


def registry_table(registry: Registry) -> Table:
    """All bundles, newest first, with the one that serves and the rollback target marked."""
    table = Table("", title=str(registry), title_justify="left")
    table.add_column("bundle", overflow="fold", min_width=MIN_ID_WIDTH)  # ids get copied: never truncated
    for name in ("model", "index", "valid recall@20"):
        table.add_column(name, overflow="fold")
    roles = dict.fromkeys(registry.history()[-1:], "rollback") | {registry.current_id(): "serves"}
    for bundle_id in registry.ids():
        table.add_row(roles.get(bundle_id, ""), bundle_id, *_row(registry, bundle_id))
    return table


def _row(registry: Registry, bundle_id: str) -> tuple[str, ...]:
    try:
        manifest = registry.manifest(bundle_id)
    except BundleError:
        return ("unreadable", "", "")
    recall = manifest.metrics.get("valid", {}).get("recall@20")
    return (manifest.model, manifest.index.factory, "" if recall is None else f"{recall:.4f}")
