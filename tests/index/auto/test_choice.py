from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.auto.choice import (
    FASTER,
    GIB,
    SLACK,
    Attempt,
    AutoLimits,
    Candidate,
    Choice,
    Predicted,
    choose,
    sample_kinds,
)
from index.errors import InputError
from index.manifest import TriedIndex

LIMITS = AutoLimits(recall_floor=0.99, memory=1, seconds=100)
N = 1_000_000


def tried(factory: str, ms: float, *, outcome: str = "", build_s: float = 1, gib: float = 0.1) -> TriedIndex:
    return TriedIndex(
        factory=factory, items=N, recall=0.995, ms=ms, build_s=build_s, bytes_per_item=gib * GIB / N, outcome=outcome
    )


@dataclass
class World:
    """Kinds whose measurements are known, and a clock that only builds move."""

    kinds: dict[str, TriedIndex]
    exact_ms: float = 10.0
    now: float = 0.0
    built: list[str] = field(default_factory=list)

    def attempt(self, kind: str, most_ms: float) -> Attempt[str]:
        self.built.append(kind)
        self.now += self.kinds[kind].build_s
        return Attempt(self.kinds[kind], f"index of {kind}")

    def choose(self, candidates: list[Candidate] | None = None, limits: AutoLimits = LIMITS) -> Choice[str]:
        exact = Attempt(tried("Flat", self.exact_ms), "index of Flat")
        known = candidates if candidates is not None else [Candidate(kind) for kind in self.kinds]
        return choose(exact, known, self.attempt, limits, lambda: self.now)

    def sample(self, limits: AutoLimits = LIMITS, *, seconds_each: float = 0) -> list[Candidate]:
        """Tried on a sample that is right about everything."""

        def attempt(kind: str, most_ms: float) -> Candidate:
            self.built.append(kind)
            self.now += seconds_each
            return candidate(self.kinds[kind])

        return sample_kinds(list(self.kinds), attempt, self.exact_ms, limits, lambda: self.now)


def candidate(one: TriedIndex) -> Candidate:
    return Candidate(one.factory, one, Predicted(one.ms, one.build_s, one.bytes_per_item * N))


def world(*kinds: TriedIndex, **changes: float) -> World:
    return World({kind.factory: kind for kind in kinds}, **changes)


def outcomes(choice: Choice[str]) -> dict[str, str]:
    return {one.factory: one.outcome for one in choice.tried}


def test_the_fastest_kind_is_kept():
    choice = world(tried("A", 3), tried("B", 1), tried("C", 2)).choose()
    assert (choice.index, choice.kept.factory) == ("index of B", "B")
    assert outcomes(choice) == {"Flat": "slower", "A": "slower", "B": "kept", "C": "slower"}
    assert choice.why == (
        "10.0 times as fast as exact search, the fastest of 3 kinds tried with recall@20 of 0.99 within 1 GiB and 100 s"
    )


def test_a_kind_that_is_ruled_out_is_not_kept_however_fast_it_is():
    choice = world(tried("A", 1, outcome="recall below the floor"), tried("B", 2), tried("C", 0.5, gib=1.5)).choose()
    assert choice.kept.factory == "B"
    assert outcomes(choice) == {
        "Flat": "slower",
        "A": "recall below the floor",
        "B": "kept",
        "C": "too large: 1.50 GiB",
    }


def test_exact_search_is_kept_where_no_kind_is_good_enough_and_much_faster():
    choice = world(tried("A", 1, outcome="recall below the floor"), tried("B", 10 / FASTER + 0.1)).choose()
    assert (choice.index, choice.kept.factory) == ("index of Flat", "Flat")
    assert outcomes(choice)["B"] == "slower"
    assert choice.why.startswith("exact: none of 2 kinds tried was 1.25 times as fast with recall@20 of 0.99")


def test_a_kind_for_which_there_is_no_time_is_not_built_and_that_is_told():
    kinds = world(tried("A", 1, build_s=90), tried("B", 0.9, build_s=60))
    choice = kinds.choose(kinds.sample())
    assert kinds.built == ["A", "B", "B"]  # on the sample; then the one predicted faster, over all items
    assert outcomes(choice) == {"A": "not built: 90 s predicted, 40 s left", "B": "kept", "Flat": "slower"}
    assert "the fastest of 2 kinds tried; 1 of them not for lack of time with" in choice.why


def test_a_long_build_that_is_predicted_fastest_does_not_take_the_time_of_others():
    kinds = world(tried("A", 1, build_s=99), tried("B", 1.5, build_s=5))
    candidates = kinds.sample()
    kinds.now = 0
    assert kinds.choose(candidates).kept.factory == "B"
    assert kinds.built == ["A", "B", "B"]


def test_nothing_is_built_once_the_time_is_up():
    kinds = world(tried("A", 1), now=101)
    choice = kinds.choose()
    assert kinds.built == []
    assert choice.kept.factory == "Flat"
    assert "1 of them not for lack of time" in choice.why


def test_a_sample_rules_out_what_would_be_too_large():
    kinds = world(tried("A", 1), tried("B", 0.5, gib=2))
    found = kinds.sample()
    assert {one.kind: one.fault for one in found} == {"A": "", "B": "too large: 2.00 GiB"}
    kinds.built.clear()
    kinds.choose(found)
    assert kinds.built == ["A"]


def test_a_sample_gives_up_a_kind_only_where_exact_search_is_about_as_fast():
    limits: list[float] = []

    def attempt(kind: str, most_ms: float) -> Candidate:
        limits.append(most_ms)
        return candidate(tried(kind, 0.1))

    sample_kinds(["A", "B"], attempt, 10, LIMITS, lambda: 0)
    assert limits == [SLACK * 10 / FASTER] * 2


def test_a_kind_that_a_sample_flatters_does_not_rule_out_others():
    kinds = world(tried("A", 0.1, outcome="recall below the floor"), tried("B", 5))
    sampled = [candidate(tried("A", 0.1)), candidate(tried("B", 5))]
    found = sample_kinds(["A", "B"], lambda kind, _: sampled["AB".index(kind)], 10, LIMITS, lambda: 0)
    assert kinds.choose(found).kept.factory == "B"


def test_what_half_of_the_time_does_not_suffice_to_sample_is_not_built_blindly():
    kinds = world(tried("A", 3), tried("B", 2), tried("C", 1))
    found = kinds.sample(seconds_each=51)
    assert [one.sampled is None for one in found] == [False, True, True]
    choice = kinds.choose(found)
    assert kinds.built == ["A", "A"]
    assert choice.kept.factory == "A"
    assert "3 kinds tried; 2 of them not for lack of time" in choice.why


def test_what_a_sample_promised_is_not_believed():
    truth = world(tried("A", 9), tried("B", 2))
    choice = truth.choose([candidate(tried("A", 0.5)), candidate(tried("B", 1))])
    assert truth.built == ["A", "B"]
    assert choice.kept.factory == "B"
    assert [one.outcome for one in choice.tried] == [
        "built over all items",
        "built over all items",
        "slower",
        "slower",
        "kept",
    ]


KINDS = st.lists(
    st.builds(
        tried,
        factory=st.sampled_from([f"kind {i}" for i in range(8)]),
        ms=st.floats(0.1, 20),
        outcome=st.sampled_from(["", "recall below the floor"]),
        build_s=st.floats(0, 80),
        gib=st.floats(0, 2),
    ),
    max_size=8,
    unique_by=lambda one: one.factory,
)


@given(kinds=KINDS, sampled=st.booleans())
def test_what_is_kept_was_good_enough_or_is_exact(kinds, sampled):
    known = world(*kinds)
    choice = known.choose(known.sample() if sampled else None)
    good = [one for one in kinds if not one.outcome and one.bytes_per_item * N <= GIB and one.ms <= 10 / FASTER]
    assert choice.kept.factory in {"Flat", *(one.factory for one in good)}
    assert choice.index == f"index of {choice.kept.factory}"
    assert [one.outcome for one in choice.tried].count("kept") == 1
    built = [one for one in good if one.factory in known.built]
    if not sampled:
        assert choice.kept.ms == min([10.0, *(one.ms for one in built)])
    assert known.now <= LIMITS.seconds + max([0.0, *(one.build_s for one in kinds)])


def test_exact_search_is_kept_longer_for_narrow_vectors_or_as_long_as_is_said():
    assert [AutoLimits().smallest(d) for d in (64, 256)] == [50_000, 12_500]
    assert AutoLimits(exact_below=0).smallest(64) == 0
    assert AutoLimits(exact_below=7).smallest(256) == 7


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"recall_floor": 0}, "the recall floor is 0; expected more than 0 and at most 1"),
        ({"recall_floor": 1.01}, "the recall floor is 1.01"),
        ({"memory": -1}, "the index's limit of memory is -1; expected at least 0"),
        ({"seconds": float("nan")}, "the index's limit of seconds is nan"),
        ({"exact_below": -1}, "the index's limit of exact_below is -1"),
    ],
)
def test_a_limit_out_of_range_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        AutoLimits(**wrong)
