import json

import numpy as np
import pytest
from bundles import make_content, write_small_bundle
from pydantic import ValidationError

from index.gate import GateLimits, pass_gate
from index.manifest import digest_of, record_bytes
from index.storage import sha256_of

CHECKS = [
    "files and sums",
    "parts sum to items",
    "fold-in gives users",
    "index recall@20",
    "valid recall@20",
    "valid ndcg@20",
]


def metrics(recall: float, ndcg: float) -> dict[str, dict[str, float]]:
    return {"valid": {"recall@20": recall, "ndcg@20": ndcg}, "test": {"recall@20": 0.0, "ndcg@20": 0.0}}


def failed(report) -> list[str]:
    return [check.name for check in report.failures]


def test_a_first_bundle_passes_every_check(tmp_path):
    report = pass_gate(write_small_bundle(tmp_path), None)
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
    assert failed(pass_gate(candidate, current, GateLimits(metric_margin=0.05))) == failures


def test_a_failed_check_says_what_was_found_and_required(tmp_path):
    current = write_small_bundle(tmp_path, metrics=metrics(0.20, 0.10))
    candidate = write_small_bundle(tmp_path, metrics=metrics(0.10, 0.10), after_seconds=1)
    text = str(pass_gate(candidate, current))
    assert f"gate for {candidate.name}: FAILED in 1 of 6 checks" in text
    assert f"FAIL  valid recall@20      0.1000  (required: at least 0.1900: 0.2000 of {current.name}, less 5%)" in text


def test_a_comparison_across_other_data_says_so(tmp_path):
    current = write_small_bundle(tmp_path, data_fingerprint="a" * 64)
    candidate = write_small_bundle(tmp_path, data_fingerprint="b" * 64)
    report = pass_gate(candidate, current)
    assert report.passed
    assert "on other data, bbbbbbbb against aaaaaaaa: not like for like" in report.checks[4].required
    assert "not like for like" not in str(pass_gate(candidate, candidate))


@pytest.mark.parametrize(("mine", "theirs"), [({}, metrics(0.9, 0.9)), (metrics(0.1, 0.1), {"test": {"recall@20": 1}})])
def test_metrics_that_one_side_lacks_are_not_compared_and_said_so(tmp_path, mine, theirs):
    candidate, current = write_small_bundle(tmp_path, metrics=mine), write_small_bundle(tmp_path, metrics=theirs)
    report = pass_gate(candidate, current)
    assert report.passed
    assert all("not compared" in check.required for check in report.checks[-2:])


def test_an_unreadable_current_bundle_does_not_bar_a_good_one(tmp_path):
    report = pass_gate(write_small_bundle(tmp_path), tmp_path / "gone")
    assert report.passed
    assert "current bundle is unreadable" in report.checks[-1].required


def test_an_index_that_finds_too_little_fails(tmp_path):
    size = {"n_users": 50, "n_items": 500}
    candidate = write_small_bundle(tmp_path, factory="IVF32,Flat", **size)
    assert failed(pass_gate(candidate, None)) == ["index recall@20"]
    assert pass_gate(candidate, None, GateLimits(index_recall_floor=0.1)).passed


def test_a_damaged_bundle_fails_at_its_first_check(tmp_path):
    candidate = write_small_bundle(tmp_path)
    (candidate / "fold_in.npy").write_bytes(b"broken")
    report = pass_gate(candidate, None)
    assert failed(report) == ["files and sums"]
    assert "fold_in.npy has sha256" in report.checks[0].found


def test_a_renamed_bundle_fails(tmp_path):
    candidate = write_small_bundle(tmp_path).rename(tmp_path / "other-name")
    assert failed(pass_gate(candidate, None)) == ["files and sums"]


@pytest.mark.parametrize(
    ("name", "check"), [("item_parts/id.npy", "parts sum to items"), ("user_own.npy", "fold-in gives users")]
)
def test_a_bundle_whose_sums_are_right_but_whose_laws_are_broken_fails(tmp_path, name, check):
    """As another writer than ours could make it."""
    candidate = write_small_bundle(tmp_path)
    np.save(candidate / name, np.load(candidate / name) + np.float32(0.01))
    record = json.loads((candidate / "manifest.json").read_bytes())
    record["files"][name] = sha256_of(candidate / name)
    record["bundle_id"] = record["bundle_id"][:-8] + digest_of(record)
    (candidate / "manifest.json").write_bytes(record_bytes(record))
    renamed = candidate.rename(tmp_path / record["bundle_id"])
    assert failed(pass_gate(renamed, None)) == [check]


def test_limits_are_frozen_and_refuse_a_typo():
    with pytest.raises(ValidationError):
        GateLimits(metric_margins=0.1)
    with pytest.raises(ValidationError):
        GateLimits().metric_margin = 1


def test_the_report_goes_through_json(tmp_path):
    report = pass_gate(write_small_bundle(tmp_path), None)
    assert type(report).model_validate_json(report.model_dump_json()) == report


def test_the_test_split_has_no_say(tmp_path):
    good = {"valid": {"recall@20": 0.2}, "test": {"recall@20": 0.9}}
    bad = {"valid": {"recall@20": 0.2}, "test": {"recall@20": 0.0}}
    current, candidate = (write_small_bundle(tmp_path, metrics=each) for each in (good, bad))
    assert pass_gate(candidate, current).passed
    assert make_content().metrics.keys() == {"valid", "test"}
