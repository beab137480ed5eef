import json
from pathlib import Path

import pytest

from deploy.model_comparison import compare_with_baselines, read_comparison
from index.errors import InputError


def comparison(path: Path, **recalls: float) -> Path:
    record = {name: {"test": {"recall@20": recall, "ndcg@20": recall / 2}} for name, recall in recalls.items()}
    path.write_text(json.dumps(record))
    return path


def test_a_model_with_a_wide_lead_over_all_others_passes(tmp_path):
    metrics = read_comparison(comparison(tmp_path / "c.json", popularity=0.05, lightgcn=0.10, anchorease=0.15))
    passed, ratios = compare_with_baselines(metrics, "anchorease")
    assert passed
    assert "recall@20 over lightgcn x1.50" in ratios


def test_a_narrow_lead_fails(tmp_path):
    metrics = read_comparison(comparison(tmp_path / "c.json", lightgcn=0.100, anchorease=0.105))
    assert not compare_with_baselines(metrics, "anchorease")[0]


def test_a_baseline_with_a_recall_of_zero_is_beaten(tmp_path):
    metrics = read_comparison(comparison(tmp_path / "c.json", popularity=0.0, anchorease=0.1))
    assert compare_with_baselines(metrics, "anchorease")[0]


def test_a_comparison_without_the_served_model_is_refused(tmp_path):
    metrics = read_comparison(comparison(tmp_path / "c.json", lightgcn=0.1))
    with pytest.raises(InputError, match="no run 'anchorease', found lightgcn"):
        compare_with_baselines(metrics, "anchorease")


@pytest.mark.parametrize("text", ["", "[]", '{"anchorease": {}}', '{"anchorease": {"test": {"recall@20": 1}}}'])
def test_a_file_that_is_no_comparison_is_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match="is no comparison"):
        read_comparison(tmp_path / "c.json")
