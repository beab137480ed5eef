"""A shop of made-up films, two models, and why each film is recommended: `python examples/quick_start.py`.

Needs the extra `cpu` alone (docs/library.md). Takes seconds, writes into a temporary folder or into the one you name.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from index import AskedBundle, bundle_from_vectors, open_bundle

GENRES = ("space", "western", "musical", "heist")
N_USERS, N_FILMS, TASTE = 200, 80, 0.85

Array = np.ndarray[Any, Any]


def made_up_shop(seed: int = 0) -> tuple[list[tuple[str, str]], list[dict[str, Any]], Array]:
    """Who watched what, the films, and features of their descriptions. Most of what a user watches is of one genre."""
    rng = np.random.default_rng(seed)
    genre_of = np.arange(N_FILMS) % len(GENRES)
    films = [
        {"item_id": f"film-{film}", "title": f"{GENRES[genre].title()} no. {film // 4}", "category": GENRES[genre]}
        for film, genre in enumerate(genre_of.tolist())
    ]
    features = np.eye(len(GENRES))[genre_of] + 0.2 * rng.normal(size=(N_FILMS, len(GENRES)))
    popularity = 1 / (1 + rng.permutation(N_FILMS))
    watched = []
    for user in range(N_USERS):
        of_taste = genre_of == user % len(GENRES)
        chance = np.where(of_taste, TASTE, 1 - TASTE) * popularity**0.5
        for film in rng.choice(N_FILMS, size=12, replace=False, p=chance / chance.sum()).tolist():
            watched.append((f"user-{user}", f"film-{film}"))
    return watched, films, features


def factors(watched: list[tuple[str, str]], n: int = 8) -> tuple[Array, Array]:
    """Vectors of users and films: a singular value decomposition of who watched what. Any model of yours goes here."""
    had = np.zeros((N_USERS, N_FILMS))
    for user, film in watched:
        had[int(user.removeprefix("user-")), int(film.removeprefix("film-"))] = 1
    left, values, right = np.linalg.svd(had / np.sqrt(had.sum(axis=0) + 1), full_matrices=False)
    return left[:, :n] * values[:n] ** 0.5, right[:n].T * values[:n] ** 0.5


def make_bundle(folder: Path) -> AskedBundle:
    """Train, write a bundle into a registry in the folder, publish it, and open it."""
    watched, films, features = made_up_shop()
    users, items = factors(watched)
    described = features @ np.linalg.lstsq(features, items)[0]  # what of the vectors the descriptions tell
    registry = folder / "bundles"
    bundle_from_vectors(
        registry,
        item_ids=[film["item_id"] for film in films],
        item_vectors=items,
        user_ids=[f"user-{user}" for user in range(N_USERS)],
        user_vectors=users,
        interactions=watched,
        items=films,
        item_parts={"text": described, "id": items - described},
        features={"text": features},
        model="svd",
        publish=True,
        tell=print,
    )
    return open_bundle(registry)


def main(folder: Path) -> None:
    """Make the shop's bundle and ask it."""
    bundle = make_bundle(folder)
    print(f"\n{bundle}\n\nFor user-1, who likes westerns:")
    for item in bundle.recommend("user-1", k=5):
        print(f"{item.rank}. {item.title} ({item.score:.3f}): {item.why}")

    first = bundle.recommend("user-1", k=1)[0]
    print(f"\nWhy {first.title}, and where it would be without each of these:")
    why = bundle.explain("user-1", first.item_id).explanation
    assert why is not None
    print("  by part:", ", ".join(f"{name} {share:.3f}" for name, share in why.parts.items()))
    for past in why.past_items:
        print(f"  {past.title}: adds {past.contribution:.3f}; without it rank {past.rank_without}")
    print(f"  other past items: {why.other_past_items:.3f}; own term: {why.user_own:.3f}; score: {first.score:.3f}")

    print("\nFor someone new who has just looked at film-0 and film-4 (space):")
    print(bundle.recommend(items=["film-0", "film-4"], k=3))
    print("\nFor someone of whom nothing is known:")
    print(bundle.recommend("a stranger", k=3))
    print("\nFilms like film-0, by who watched them and by description:")
    for by in ("fused", "text"):
        print(f"  {by}: {', '.join(item.title for item in bundle.similar('film-0', 4, by=by))}")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
