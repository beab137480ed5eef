from pathlib import Path

import pytest

from index.errors import InputError
from service.settings import GROUPS, Settings, load_settings
from service.settings_page import settings_page

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECO_REGISTRY", "bundles")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECO_PORT", "8123")
    monkeypatch.setenv("RECO_REDIS_URL", "unix:///run/redis.sock")
    settings = load_settings()
    assert (settings.registry, settings.port, settings.k_default) == ("bundles", 8123, 10)
    assert settings.redis_url is not None


def test_a_misspelt_variable_is_refused_with_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECO_REDIS_BUGDET_MS", "5")
    with pytest.raises(InputError, match=r"RECO_REDIS_BUGDET_MS: unknown setting.*RECO_REDIS_BUDGET_MS"):
        load_settings()


def test_the_key_of_a_caller_in_the_same_shell_is_no_misspelt_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECO_KEY", "rk_of_a_caller")
    assert load_settings().port == 8000


def test_a_half_life_of_events_is_refused_with_what_decides_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECO_EVENT_HALF_LIFE_DAYS", "7")
    with pytest.raises(InputError, match=r"RECO_EVENT_HALF_LIFE_DAYS: no setting.*the bundle's recency weighs.*unset"):
        load_settings()


def test_a_missing_registry_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECO_REGISTRY")
    with pytest.raises(InputError, match="RECO_REGISTRY is not set; set this environment variable: folder or bucket"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RECO_PORT", "eighty", "RECO_PORT: .*valid integer"),
        ("RECO_PORT", "70000", "RECO_PORT: .*65535"),
        ("RECO_K_MAX", "0", "RECO_K_MAX: .*greater than or equal to 1"),
        ("RECO_K_DEFAULT", "501", "k_default is 501, above k_max 500"),
        ("RECO_NAMESPACE", "a:b", "RECO_NAMESPACE: .*pattern"),
        ("RECO_GPU", "yes", "RECO_GPU: .*'auto' or 'off'"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        load_settings()


def test_a_bad_redis_url_is_refused_without_repeating_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECO_REDIS_URL", "http://:secret@cache")
    with pytest.raises(InputError, match=r"RECO_REDIS_URL.*redis, rediss, unix") as caught:
        load_settings()
    assert "secret" not in str(caught.value)


def test_a_password_in_the_address_of_milvus_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECO_REGISTRY", "bundles")
    monkeypatch.setenv("RECO_MILVUS_URI", "http://ann:hunter2@milvus:19530")
    with pytest.raises(InputError, match="set RECO_MILVUS_TOKEN=USER:PASSWORD") as refused:
        load_settings()
    assert "hunter2" not in str(refused.value)


def test_a_password_does_not_show_when_settings_are_printed() -> None:
    settings = Settings(registry=Path("bundles"), redis_url="redis://:hunter2@cache")  # type: ignore[arg-type]
    assert "hunter2" not in repr(settings)


def test_every_setting_says_what_it_means_and_the_page_is_made_from_them() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    assert settings_page() + "\n" == DOCS.read_text()


def test_every_setting_is_in_exactly_one_group() -> None:
    grouped = [name for _, group in GROUPS for name in group.__annotations__]
    assert sorted(grouped) == sorted(Settings.model_fields)


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECO_CORS_ORIGINS", "https://a.example, https://b.example,")
    assert load_settings().cors_origins == ("https://a.example", "https://b.example")


def test_metrics_cannot_move_to_a_port_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECO_METRICS_ON_ADMIN", "true")
    with pytest.raises(InputError, match="metrics_on_admin needs an admin_port"):
        load_settings()
