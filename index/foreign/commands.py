"""`python -m index import-vectors`: vectors in files become a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from index.auto.choice import AUTO
from index.cli import Factory
from index.errors import InputError
from index.foreign.files import read_ids, read_vectors, table_blocks, table_rows
from index.foreign.vectors import bundle_from_vectors

File = Path | None


def import_vectors(
    registry: Annotated[
        str, typer.Argument(metavar="REGISTRY", help="The folder of bundles, made if need be, or a bucket's URL.")
    ],
    *,
    item_vectors: Annotated[Path, typer.Option(help="Items' vectors (items, dimensions), .npy.")],
    item_ids: Annotated[
        Path, typer.Option(help="Their ids in this order: a line each in .txt, .npy, or item_id of a table.")
    ],
    user_vectors: Annotated[
        File, typer.Option(help="Users' vectors, .npy; unset: users are sums of their items' vectors.")
    ] = None,
    user_ids: Annotated[File, typer.Option(help="Their ids, as for items; user_id of a table.")] = None,
    interactions: Annotated[
        File,
        typer.Option(help="What users have had: user_id, item_id, perhaps timestamp, in .csv, .jsonl or .parquet."),
    ] = None,
    items: Annotated[
        File,
        typer.Option(help="Metadata: item_id, title, category, image; other columns are attributes. Formats as above."),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=FILE",
            help="Items' features, .npy, by text, image or multimodal, for neighbours; repeatable.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model in the bundle's id.")] = "vectors",
    factory: Factory = AUTO,
    drop_unknown_items: Annotated[
        bool, typer.Option("--drop-unknown-items", help="Leave out interactions with items that have no vector.")
    ] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Run the gate, and let the bundle serve.")] = False,
) -> None:
    """Write vectors of any model as a bundle, which the service serves with explanations. A score is an inner product.

    Nothing is written where ids, shapes or numbers are wrong. Prints the bundle's place.

    Example: python -m index import-vectors bundles --item-vectors items.npy --item-ids items.txt
    --user-vectors users.npy --user-ids users.txt --interactions interactions.csv --items items.csv --publish
    """
    path = bundle_from_vectors(
        registry,
        item_ids=read_ids(item_ids, "item_id"),
        item_vectors=read_vectors(item_vectors),
        user_ids=None if user_ids is None else read_ids(user_ids, "user_id"),
        user_vectors=None if user_vectors is None else read_vectors(user_vectors),
        interactions=None if interactions is None else table_blocks(interactions),
        items=None if items is None else table_rows(items),
        features=dict(_named(one) for one in features or ()),
        model=model,
        factory=factory,
        unknown_items="drop" if drop_unknown_items else "refuse",
        publish=publish,
        tell=lambda told: typer.echo(told, err=True),
    )
    typer.echo(path if "://" not in registry else f"{registry.rstrip('/')}/{path.name}")


def _named(option: str) -> tuple[str, object]:
    name, separator, path = option.partition("=")
    if not separator:
        raise InputError(f"--features is {option!r}; expected MODALITY=FILE, as in text=texts.npy")
    return name, read_vectors(Path(path))
