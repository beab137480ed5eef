import json
from pathlib import Path

import pytest

from deploy.figures import beaten_clearly, read_figures
from index.errors import InputError


def comparison(path: Path, **recalls: float) -> Path:
    record = {name: {"test": {"recall@20": recall, "ndcg@20": recall / 2}} for name, recall in recalls.items()}
    path.write_text(json.dumps(record))
    return path


def test_a_model_ahead_of_all_others_has_beaten_them_clearly(tmp_path):
    figures = read_figures(comparison(tmp_path / "c.json", popularity=0.05, lightgcn=0.10, anchorrec=0.15))
    clearly, said = beaten_clearly(figures)
    assert clearly
    assert "recall@20 over lightgcn x1.50" in said


def test_a_narrow_lead_is_not_clear(tmp_path):
    figures = read_figures(comparison(tmp_path / "c.json", lightgcn=0.100, anchorrec=0.105))
    assert not beaten_clearly(figures)[0]


def test_a_model_that_found_nothing_is_beaten_by_one_that_did(tmp_path):
    figures = read_figures(comparison(tmp_path / "c.json", popularity=0.0, anchorrec=0.1))
    assert beaten_clearly(figures)[0]


def test_a_comparison_without_the_served_model_is_refused(tmp_path):
    figures = read_figures(comparison(tmp_path / "c.json", lightgcn=0.1))
    with pytest.raises(InputError, match="no run 'anchorrec', found lightgcn"):
        beaten_clearly(figures)


@pytest.mark.parametrize("text", ["", "[]", '{"anchorrec": {}}', '{"anchorrec": {"test": {"recall@20": 1}}}'])
def test_what_is_no_comparison_is_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match="is no comparison"):
        read_figures(tmp_path / "c.json")
