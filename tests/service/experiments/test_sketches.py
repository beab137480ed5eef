"""Quantiles and distinct counts in little memory, as exact ones but for their stated error."""

import numpy as np
import pytest

from service.experiments.sketches import ACCURACY, DistinctCount, QuantileSketch


def sketch_of(values: np.ndarray) -> QuantileSketch:
    sketch = QuantileSketch()
    for value in values.tolist():
        sketch.add(value)
    return sketch


def count_of(ids: list[str]) -> DistinctCount:
    count = DistinctCount()
    for one in ids:
        count.add(one)
    return count


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e6])
def test_quantiles_are_within_one_percent_whatever_the_sign_and_scale(scale: float) -> None:
    values = scale * np.random.default_rng(0).standard_normal(5_000)
    sketch = sketch_of(values)
    for q in (0.0, 0.05, 0.25, 0.5, 0.75, 0.99, 1.0):
        exact = float(np.quantile(values, q, method="lower"))
        assert sketch.quantile(q) == pytest.approx(exact, rel=1.001 * ACCURACY), q


def test_the_quantile_of_zeros_is_zero_and_of_nothing_none() -> None:
    assert sketch_of(np.zeros(3)).quantile(0.5) == 0
    assert QuantileSketch().quantile(0.5) is None


def test_values_of_any_size_take_bounded_memory() -> None:
    sketch = sketch_of(np.exp(np.linspace(-700, 700, 50_000)))
    assert len(sketch.counts) < 2_200


def test_merged_quantiles_are_those_of_all_values() -> None:
    values = np.random.default_rng(1).standard_normal(1_000)
    merged = sketch_of(values[:300])
    merged.merge(sketch_of(values[300:]))
    assert merged.counts == sketch_of(values).counts


@pytest.mark.parametrize(("n", "error"), [(10, 0.0), (5_000, 0.01), (60_000, 0.01)])
def test_distinct_ids_are_counted_once_within_one_percent(n: int, error: float) -> None:
    count = count_of([f"item-{i % n}" for i in range(n + 50)])
    assert count.estimate == pytest.approx(n, rel=error)


def test_merged_counts_count_ids_of_both_once() -> None:
    merged = count_of(["a", "b"])
    merged.merge(count_of(["b", "c"]))
    assert DistinctCount(merged.encoded).estimate == 3
