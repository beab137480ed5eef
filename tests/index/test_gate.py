import numpy as np
import pytest
from bundles import edited, make_anchor, make_content, narrowed, promising, with_manifest, write_small_bundle
from pydantic import ValidationError

from index.bundle import open_bundle
from index.comparison import choose_users
from index.gate import GateLimits, check_bundle
from index.recall import measured_recall
from index.recency import Recency

CHECKS = [
    "files and sums",
    "finite numbers",
    "parts sum to items",
    "fold-in gives users",
    "index recall@20",
    "search p99",
    "coverage of items",
    "overlap of lists",
    "number of items",
    "number of users",
    "valid recall@20",
    "valid ndcg@20",
]


def metrics(recall: float, ndcg: float) -> dict[str, dict[str, float]]:
    return {"valid": {"recall@20": recall, "ndcg@20": ndcg}, "test": {"recall@20": 0.0, "ndcg@20": 0.0}}


def failed(report) -> list[str]:
    return [check.name for check in report.failures]


def test_a_first_bundle_passes_every_check(tmp_path):
    report = check_bundle(write_small_bundle(tmp_path), None)
    assert report.passed
    assert [check.name for check in report.checks] == CHECKS
    assert report.checks[-1].required == "nothing serves yet"


@pytest.mark.parametrize(
    ("new", "failures"),
    [
        ((0.20, 0.10), []),
        ((0.191, 0.096), []),
        ((0.189, 0.096), ["valid recall@20"]),
        ((0.191, 0.094), ["valid ndcg@20"]),
        ((0.9, 0.0), ["valid ndcg@20"]),
    ],
)
def test_metrics_may_fall_by_the_margin_and_no_further(tmp_path, new, failures):
    current = write_small_bundle(tmp_path, metrics=metrics(0.20, 0.10))
    candidate = write_small_bundle(tmp_path, metrics=metrics(*new), after_seconds=1)
    assert failed(check_bundle(candidate, current, GateLimits(metric_margin=0.05))) == failures


def test_a_failed_check_says_what_was_found_and_required(tmp_path):
    current = write_small_bundle(tmp_path, metrics=metrics(0.20, 0.10))
    candidate = write_small_bundle(tmp_path, metrics=metrics(0.10, 0.10), after_seconds=1)
    text = str(check_bundle(candidate, current))
    assert f"gate for {candidate.name}: FAILED in 1 of 12 checks" in text
    assert f"FAIL  valid recall@20      0.1000  (required: at least 0.1900: 0.2000 of {current.name}, less 5%)" in text


def test_a_comparison_across_other_data_says_so(tmp_path):
    current = write_small_bundle(tmp_path, data_fingerprint="a" * 64)
    candidate = write_small_bundle(tmp_path, data_fingerprint="b" * 64)
    report = check_bundle(candidate, current)
    assert report.passed
    assert "on other data, bbbbbbbb against aaaaaaaa: not comparable" in report.checks[-2].required
    assert "not comparable" not in str(check_bundle(candidate, candidate))


@pytest.mark.parametrize(("mine", "theirs"), [({}, metrics(0.9, 0.9)), (metrics(0.1, 0.1), {"test": {"recall@20": 1}})])
def test_metrics_that_one_side_lacks_are_not_compared_and_said_so(tmp_path, mine, theirs):
    candidate, current = write_small_bundle(tmp_path, metrics=mine), write_small_bundle(tmp_path, metrics=theirs)
    report = check_bundle(candidate, current)
    assert report.passed
    assert all("not compared" in check.required for check in report.checks[-2:])


def test_an_unreadable_current_bundle_does_not_bar_a_good_one(tmp_path):
    report = check_bundle(write_small_bundle(tmp_path), tmp_path / "gone")
    assert report.passed
    assert "current bundle is unreadable" in report.checks[-1].required


def test_an_index_that_finds_too_little_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("index.engine._default_settings", lambda index: {"nprobe": 1})
    size = {"n_users": 50, "n_items": 500}
    candidate = narrowed(write_small_bundle(tmp_path, factory="IVF32,Flat", **size), nprobe=4)
    assert failed(check_bundle(candidate, None)) == ["index recall@20"]
    assert check_bundle(candidate, None, GateLimits(index_recall_floor=0.1)).passed


def test_an_index_is_held_to_what_its_bundle_promises(tmp_path):
    written = narrowed(write_small_bundle(tmp_path, factory="IVF32,Flat", n_users=50, n_items=1_000))
    bundle = open_bundle(written)
    recall = measured_recall(bundle.index(), bundle.item_embeddings, bundle.user_embeddings, bundle.seen)["recall@20"]
    assert 0.1 < recall < 0.9
    low = GateLimits(index_recall_floor=0.1, index_recall_at=5)
    kept = check_bundle(written := promising(written, recall), None, low)
    assert kept.passed
    assert "promised recall@20" in [one.name for one in kept.checks]
    report = check_bundle(promising(written, 0.95), None, low)
    assert failed(report) == ["promised recall@20"]
    assert check(report, "promised recall@20").found == f"{recall:.4f} of exact search, IVF32,Flat, nprobe 1"
    assert check(report, "promised recall@20").required == "at least 0.95: the bundle's promise"


def test_the_gate_measures_recall_without_what_users_have_seen(tmp_path):
    """The index probes one of two directions; the best item of the other one was seen."""
    vectors = np.array([[10, 0], [20, 0], [30, 0], [0, 20], [0, 30], [0, 10]], np.float32)
    user, nothing = np.array([[4, 3]], np.float32), np.zeros((6, 2), np.float32)
    model = {"item_embeddings": vectors, "item_parts": {"id": vectors}, "fold_in": nothing, "neighbours": {}}
    past = {"seen_offsets": np.array([0, 1]), "seen_items": np.array([4], np.int32)}
    users = {"user_embeddings": user, "user_own": user}
    written = write_small_bundle(tmp_path, factory="IVF2,Flat", n_users=1, n_items=6, **model, **past, **users)
    written = narrowed(written)
    found = [check(check_bundle(written, None, GateLimits(index_recall_at=k)), f"index recall@{k}") for k in (2, 3)]
    assert [one.found[:6] for one in found] == ["1.0000", "0.6667"]


def test_a_damaged_bundle_fails_at_its_first_check(tmp_path):
    candidate = write_small_bundle(tmp_path)
    (candidate / "fold_in.npy").write_bytes(b"broken")
    report = check_bundle(candidate, None)
    assert failed(report) == ["files and sums"]
    assert "fold_in.npy has sha256" in report.checks[0].found


def test_a_renamed_bundle_fails(tmp_path):
    candidate = write_small_bundle(tmp_path).rename(tmp_path / "other-name")
    assert failed(check_bundle(candidate, None)) == ["files and sums"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_fails_and_nothing_is_computed_from_it(tmp_path, value):
    candidate = edited(write_small_bundle(tmp_path), "fold_in.npy", lambda rows: rows.__setitem__((3, 1), value))
    report = check_bundle(candidate, None)
    assert failed(report) == ["finite numbers"]
    assert report.checks[1].found == "row 3 of fold_in is not"
    assert len(report.checks) == 2


@pytest.mark.parametrize(
    ("name", "check"), [("item_parts/id.npy", "parts sum to items"), ("user_own.npy", "fold-in gives users")]
)
def test_a_bundle_whose_sums_are_right_but_whose_laws_are_broken_fails(tmp_path, name, check):
    candidate = edited(write_small_bundle(tmp_path), name, lambda rows: np.add(rows, 0.01, out=rows))
    assert failed(check_bundle(candidate, None)) == [check]


def test_a_bundle_with_recency_and_anchor_passes_and_one_folded_in_otherwise_fails(tmp_path):
    with_both = write_small_bundle(tmp_path, recency=Recency(tau=3), anchor=make_anchor(), has_own=False)
    assert check_bundle(with_both, None).passed
    otherwise = with_manifest(with_both, lambda record: record["recency"].update(tau=4.0))
    assert failed(check_bundle(otherwise, None)) == ["fold-in gives users"]


def test_an_anchor_that_is_not_finite_fails(tmp_path):
    written = write_small_bundle(tmp_path, anchor=make_anchor())
    candidate = edited(written, "anchor/image_center.npy", lambda center: center.__setitem__(2, np.nan))
    assert check_bundle(candidate, None).failures[0].found == "row 2 of anchor/image_center is not"


# What people are shown, beside what they are shown now


def check(report, name):
    return next(one for one in report.checks if one.name == name)


def test_the_same_model_again_shows_the_same_lists(tmp_path):
    current, candidate = write_small_bundle(tmp_path), write_small_bundle(tmp_path, after_seconds=1)
    overlap = check(check_bundle(candidate, current), "overlap of lists")
    assert overlap.passed
    assert overlap.found == "100.0% of the top 20, 30 users that both bundles know"
    assert failed(check_bundle(candidate, current, GateLimits(overlap_ceiling=0.99))) == ["overlap of lists"]


def test_lists_that_belong_to_other_people_are_found_by_their_overlap(tmp_path):
    sizes = {"n_users": 60, "n_items": 800}
    current = write_small_bundle(tmp_path, **sizes)
    strangers = write_small_bundle(tmp_path, after_seconds=1, seed=1, **sizes)
    report = check_bundle(strangers, current, GateLimits(list_length=5))
    assert failed(report) == ["overlap of lists"]
    assert check(report, "overlap of lists").required == "5% to 100%"


def test_overlap_goes_by_outside_ids_whatever_the_rows(tmp_path):
    current = write_small_bundle(tmp_path)
    renamed = write_small_bundle(tmp_path, after_seconds=1, item_ids=[f"item-{row + 1000}" for row in range(40)])
    assert "0.0% of the top 20" in check(check_bundle(renamed, current), "overlap of lists").found
    strangers = write_small_bundle(tmp_path, after_seconds=2, user_ids=[f"other-{row}" for row in range(30)])
    overlap = check(check_bundle(strangers, current), "overlap of lists")
    assert overlap.passed
    assert overlap.required == "not compared: no user is known to both bundles"


def test_a_model_that_shows_everybody_the_same_few_items_fails_by_coverage(tmp_path):
    current = write_small_bundle(tmp_path, n_items=200)
    shape = np.load(current / "user_embeddings.npy").shape
    one_taste = np.ones(shape, np.float32)
    alike = write_small_bundle(
        tmp_path, after_seconds=1, n_items=200, user_embeddings=one_taste, user_own=one_taste, fold_in=zeros(200)
    )
    assert "coverage of items" in failed(check_bundle(alike, current, GateLimits(list_length=5, overlap_floor=0)))
    limits = GateLimits(list_length=5, overlap_floor=0, coverage_kept=0, coverage_floor=0.5)
    assert failed(check_bundle(alike, current, limits)) == ["coverage of items"]
    assert failed(check_bundle(alike, None, limits)) == ["coverage of items"]
    assert check_bundle(alike, current, GateLimits(list_length=5, overlap_floor=0, coverage_kept=0)).passed


def zeros(n):
    return np.zeros((n, 8), np.float32)


def test_searches_that_take_too_long_fail(tmp_path):
    ticks = iter(range(10_000))
    report = check_bundle(write_small_bundle(tmp_path), None, timer=lambda: next(ticks) * 0.2)
    assert failed(report) == ["search p99"]
    assert check(report, "search p99").found == "200.00 ms over 30 users"


def test_a_halt_of_the_machine_is_not_held_against_the_index(tmp_path):
    now, looks = 0.0, 0

    def halting() -> float:
        """Every other look is a millisecond after the one before, and of each ten of these one a second."""
        nonlocal now, looks
        looks += 1
        now += 1.0 if looks % 20 == 0 else 0.001
        return now

    report = check_bundle(write_small_bundle(tmp_path), None, timer=halting)
    assert report.passed
    assert check(report, "search p99").found == "1.00 ms over 30 users"


@pytest.mark.parametrize(("n_users", "n_items", "failures"), [
    (24, 32, []), (23, 32, ["number of users"]), (24, 31, ["number of items"]), (90, 400, []),
])  # fmt: skip
def test_neither_catalogue_nor_audience_may_shrink_by_more_than_a_share(tmp_path, n_users, n_items, failures):
    current = write_small_bundle(tmp_path)
    candidate = write_small_bundle(tmp_path, after_seconds=1, n_users=n_users, n_items=n_items)
    assert failed(check_bundle(candidate, current, GateLimits(overlap_floor=0, coverage_kept=0))) == failures


def test_users_to_replay_come_first_and_then_those_whom_both_bundles_know(tmp_path):
    new, old = (open_bundle(write_small_bundle(tmp_path, n_users=n)) for n in (100, 20))
    rows = choose_users(new, None, ["user-77", "nobody", "user-5", "user-77"], 4)
    assert rows[:2].tolist() == [77, 5]
    shared = choose_users(new, old, ["user-77", "user-5"], 8)
    assert shared[0] == 5
    assert (shared[:4] < 20).all()
    assert len(set(shared.tolist())) == 8


def test_limits_are_frozen_and_refuse_a_typo():
    with pytest.raises(ValidationError):
        GateLimits(metric_margins=0.1)
    with pytest.raises(ValidationError):
        GateLimits().metric_margin = 1


def test_the_report_goes_through_json(tmp_path):
    report = check_bundle(write_small_bundle(tmp_path), None)
    assert type(report).model_validate_json(report.model_dump_json()) == report


def test_the_test_split_has_no_say(tmp_path):
    good = {"valid": {"recall@20": 0.2}, "test": {"recall@20": 0.9}}
    bad = {"valid": {"recall@20": 0.2}, "test": {"recall@20": 0.0}}
    current, candidate = (write_small_bundle(tmp_path, metrics=each) for each in (good, bad))
    assert check_bundle(candidate, current).passed
    assert make_content().metrics.keys() == {"valid", "test"}
