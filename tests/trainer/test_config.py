"""Settings: what is wrong stops the run, with a sentence that helps."""

import pytest
from pydantic import ValidationError

from index.errors import InputError
from trainer.config import RunConfig, dump_config, load_config, shipped_configs
from trainer.model_settings import AnchorRecSettings


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_configuration_is_valid_and_names_its_own_model(name):
    config = load_config(name)
    assert config.model.name in name


def test_the_written_configuration_reads_back_equal(tmp_path):
    config = load_config("anchorrec", ("training.epochs=7", "model.fusion.text=0.5"))
    (tmp_path / "config.toml").write_text(dump_config(config))
    assert load_config(str(tmp_path / "config.toml")) == config


def test_an_override_changes_one_setting_and_leaves_the_others():
    changed = load_config("anchorrec", ("model.aal_weight=0.5",))
    assert changed.model.aal_weight == 0.5
    assert changed.model_copy(update={"model": load_config("anchorrec").model}) == load_config("anchorrec")


def test_an_override_without_quotes_is_taken_as_text():
    assert load_config("anchorrec", ("model.feature_scaling=unit",)).model.feature_scaling == "unit"


def test_an_unknown_key_is_an_error_that_names_the_nearest_known_one():
    with pytest.raises(InputError, match=r"unknown key model\.aal_wieght \(did you mean 'aal_weight'\?\)"):
        load_config("anchorrec", ("model.aal_wieght=0.5",))


def test_a_key_of_another_model_is_not_suggested_to_itself():
    with pytest.raises(InputError, match=r"unknown key model\.n_layers$|did you mean '(?!n_layers')"):
        load_config("popularity", ("model.n_layers=3",))


def test_an_unknown_key_in_a_nested_group_is_an_error_too():
    with pytest.raises(InputError, match=r"unknown key model\.fusion\.textt"):
        load_config("anchorrec", ("model.fusion.textt=1",))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.temperature=0", "model.temperature: expected greater than 0, found 0; all keys"),
        ("model.text_share=1.5", "model.text_share"),
        ("training.batch_size=0", "training.batch_size"),
        ("training.metric=accuracy", "training.metric"),
        ("model.name=bert4rec", "bert4rec"),
        ("model.variant=mine", "model.variant"),
        ("model.l2_weight=nan", "model.l2_weight"),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_was_found(override, said):
    with pytest.raises(InputError, match=said):
        load_config("anchorrec", (override,))


def test_an_override_without_a_value_is_refused():
    with pytest.raises(InputError, match="key=value"):
        load_config("anchorrec", ("training.epochs",))


def test_an_override_inside_a_single_setting_is_refused():
    with pytest.raises(InputError, match="name is one setting, not a group of settings"):
        load_config("anchorrec", ("model.name.first=a",))


def test_a_configuration_of_a_sub_folder_is_found_by_its_name():
    assert load_config("ablations/without-aal").model.aal_weight == 0


def test_a_missing_file_is_refused_with_the_names_that_ship():
    with pytest.raises(InputError, match=r"'nowhere\.toml' not found.*anchorrec.*lightgcn"):
        load_config("nowhere.toml")


def test_what_is_not_toml_is_refused(tmp_path):
    (tmp_path / "broken.toml").write_text("[model\nname=1")
    with pytest.raises(InputError, match="not valid TOML"):
        load_config(str(tmp_path / "broken.toml"))


def test_settings_cannot_be_changed_after_they_are_made():
    config = RunConfig(model=AnchorRecSettings())
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(InputError, match=r"seed: expected (greater|less) than"):
        load_config("anchorrec", (f"seed={seed}",))


@pytest.mark.parametrize(
    "override", ["training.learning_rate=inf", "training.learning_rate=nan", "model.temperature=inf"]
)
def test_a_setting_that_is_not_finite_is_refused(override):
    with pytest.raises(InputError, match="expected a finite number"):
        load_config("anchorrec", (override,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 1", "model is missing; all keys with their meaning: docs/training.md"),
        ("[model]\nlayers = 2", "model lacks 'name'; all keys"),
        ("[model]\nname = 'x'", "model: expected one of .*'bpr'.*, found 'x'; all keys"),
    ],
)
def test_a_file_that_lacks_what_every_run_needs_is_told_with_where_to_look(tmp_path, text, said):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        load_config(str(tmp_path / "config.toml"))


@pytest.mark.parametrize("setting", ["evaluation.ks=[99999999999999999999]", "model.embedding_size=999999999999"])
def test_a_size_that_no_table_can_have_is_refused(setting):
    with pytest.raises(InputError, match="expected less than 2147483648"):
        load_config("lightgcn", (setting,))
