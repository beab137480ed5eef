"""What can be known of the GPU seam without a GPU: the clone itself is FAISS's, and is stood in for here."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from index import gpu
from index.errors import InputError
from index.gpu import place_index, place_on_all
from index.item_index import ItemIndex


def vectors_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 8), dtype=np.float32)


class LimitedLikeAGpu:
    """A FAISS index without selectors and with a longest list, over a CPU index."""

    def __init__(self, faiss_index: Any) -> None:
        self.faiss = faiss_index
        self.lengths: list[int] = []

    def search(self, queries: np.ndarray, k: int, params: Any = None) -> Any:
        assert params is None
        assert k <= 64
        self.lengths.append(k)
        return self.faiss.search(queries, k)


def limited(cpu: ItemIndex) -> tuple[ItemIndex, LimitedLikeAGpu]:
    device = LimitedLikeAGpu(cpu.engine.index)
    engine = replace(cpu.engine, index=device, takes_selector=False, max_fetch=64, device="gpu:0")
    return replace(cpu, engine=engine, overflow=cpu), device


@pytest.mark.parametrize("allow_gpu", [True, False])
def test_an_index_stays_where_it_is_without_a_gpu(allow_gpu):
    index = ItemIndex.build(vectors_of(50))
    placed_index = place_index(index, allow_gpu=allow_gpu, device=99)
    assert placed_index is index
    assert placed_index.engine.device == "cpu"


def faiss_with_a_gpu(clone: Callable[[Any], Any]) -> SimpleNamespace:
    """The names that FAISS's GPU wheel has beside those of the CPU wheel."""
    return SimpleNamespace(
        get_num_gpus=lambda: 1,
        StandardGpuResources=lambda: SimpleNamespace(setTempMemory=lambda size: None),
        GpuClonerOptions=SimpleNamespace,
        index_cpu_to_gpu=lambda resources, device, index, options: clone(index),
    )


def test_an_index_goes_onto_a_gpu_and_keeps_its_twin(monkeypatch):
    monkeypatch.setattr(gpu, "faiss", faiss_with_a_gpu(LimitedLikeAGpu))
    cpu = ItemIndex.build(vectors_of(100))
    index = place_index(cpu, allow_gpu=True)
    assert (index.engine.device, index.engine.max_fetch, index.overflow) == ("gpu:0", 2_048, cpu)
    query = vectors_of(1, seed=1)
    assert index.search(query, 10, np.arange(5))[0].tolist() == cpu.search(query, 10, np.arange(5))[0].tolist()
    assert place_index(cpu, allow_gpu=False) is cpu
    assert place_index(cpu, allow_gpu=True, device=1) is cpu


def test_an_index_that_has_no_gpu_form_stays_and_it_is_said(monkeypatch, caplog):
    def refuse(index: Any) -> None:
        raise RuntimeError("This index type is not implemented on GPU")

    monkeypatch.setattr(gpu, "faiss", faiss_with_a_gpu(refuse))
    cpu = ItemIndex.build(vectors_of(100), "HNSW8")
    assert place_index(cpu, allow_gpu=True) is cpu
    assert "index stays on the CPU: This index type is not implemented on GPU" in caplog.text


@pytest.mark.parametrize("n_excluded", [0, 30, 200, 900])
def test_lists_longer_than_the_gpu_gives_come_from_the_cpu(n_excluded):
    cpu = ItemIndex.build(vectors_of(1_000))
    index, device = limited(cpu)
    queries, exclude = vectors_of(12, seed=1), np.arange(n_excluded)
    for ours, theirs in zip(index.search(queries, 10, exclude), cpu.search(queries, 10, exclude), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert bool(device.lengths) == (n_excluded <= 30)


def test_a_tie_too_long_for_the_gpu_is_broken_on_the_cpu():
    index, device = limited(ItemIndex.build(np.ones((500, 8), np.float32)))
    assert index.search(np.ones(8, np.float32), 3, np.array([1]))[0].tolist() == [[0, 2, 3]]
    assert device.lengths == [32]


def test_hidden_rows_stay_hidden_on_both_devices():
    cpu = ItemIndex.build(vectors_of(1_000))
    index = limited(cpu)[0].with_hidden(np.arange(0, 1_000, 2))
    for k in (3, 500):
        found = index.search(vectors_of(1, seed=1), k)[0][0]
        assert (found[found >= 0] % 2 == 1).all()
    assert index.settings == cpu.settings


def test_gpu_limits_are_those_of_faiss():
    assert gpu.MAX_FETCH == 2_048
    assert gpu.n_gpus() >= 0


def test_a_row_out_of_range_is_refused_before_any_device_sees_it():
    with pytest.raises(InputError, match=r"expected 0\.\.99"):
        ItemIndex.build(vectors_of(100)).with_hidden(np.array([100]))


class SeveralGpus(SimpleNamespace):
    """FAISS with two GPUs; `shards` notes how a multiple clone was asked for."""

    def __init__(self, *, broken: tuple[int, ...] = ()) -> None:
        super().__init__(**vars(faiss_with_a_gpu(LimitedLikeAGpu)))
        self.get_num_gpus = lambda: 2
        self.GpuMultipleClonerOptions = SimpleNamespace
        self.asked: list[Any] = []
        self.broken = broken
        self.index_cpu_to_gpu = self.clone
        self.index_cpu_to_gpu_multiple_py = self.clone_multiple

    def clone(self, resources: Any, device: int, index: Any, options: Any) -> LimitedLikeAGpu:
        if device in self.broken:
            raise RuntimeError("CUDA error 2: out of memory")
        self.asked.append((device, options.useFloat16))
        return LimitedLikeAGpu(index)

    def clone_multiple(self, resources: list[Any], index: Any, options: Any, devices: list[int]) -> LimitedLikeAGpu:
        assert len(resources) == len(devices)
        self.asked.append((tuple(devices), options.shard))
        return LimitedLikeAGpu(index)


def test_replicas_are_one_clone_on_each_gpu_and_one_that_has_no_room_is_left_out(monkeypatch):
    cpu = ItemIndex.build(vectors_of(100))
    monkeypatch.setattr(gpu, "faiss", SeveralGpus())
    placed = place_on_all(cpu, spread="replicas")
    assert [one.engine.device for one in placed] == ["gpu:0", "gpu:1"]
    assert all(one.overflow is cpu for one in placed)
    monkeypatch.setattr(gpu, "faiss", SeveralGpus(broken=(0,)))
    assert [one.engine.device for one in place_on_all(cpu, spread="replicas")] == ["gpu:1"]
    monkeypatch.setattr(gpu, "faiss", SeveralGpus(broken=(0, 1)))
    assert place_on_all(cpu, spread="replicas") == []


def test_shards_are_one_index_over_all_gpus(monkeypatch):
    several = SeveralGpus()
    monkeypatch.setattr(gpu, "faiss", several)
    (placed,) = place_on_all(ItemIndex.build(vectors_of(100)), spread="shards")
    assert placed.engine.device == "gpu:0,1"
    assert several.asked == [((0, 1), True)]


def test_candidates_of_rounded_vectors_do_not_count_as_exact(monkeypatch):
    several = SeveralGpus()
    monkeypatch.setattr(gpu, "faiss", several)
    cpu = ItemIndex.build(vectors_of(100))
    assert place_index(cpu, allow_gpu=True).engine.exact
    assert not place_index(cpu, allow_gpu=True, float16=True).engine.exact
    assert several.asked == [(0, False), (0, True)]
