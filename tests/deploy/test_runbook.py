"""The runbook: a section for every alert, with commands and queries that work."""

import re
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import httpx
import pytest
from bundles import make_content
from scraped import Series, missing, unknown_labels
from servers import publish, serving, wait_until

from deploy.rule_files import Rule, rules
from service.settings import Settings

PAGE = Path("docs/runbook.md")
ALERTS = [rule for rule in rules() if rule.alerts]


def sections() -> dict[str, str]:
    """The text below each heading of the second level."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(language: str) -> list[list[str]]:
    """The lines of each block."""
    return [block.splitlines() for block in re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)]


SETUP, *COMMANDS = blocks("sh")


def test_there_is_a_section_for_every_alert_and_no_other_in_their_order() -> None:
    assert list(sections()) == [rule.name for rule in ALERTS]


@pytest.mark.parametrize("rule", ALERTS, ids=str)
def test_a_section_says_what_it_means_then_what_to_look_at_then_what_to_do(rule: Rule) -> None:
    assert re.findall(r"^\*\*(.+?)\*\*", sections()[rule.name], flags=re.MULTILINE) == ["Means.", "Look.", "Do."]


def test_sections_lead_to_sections_and_pages_that_there_are() -> None:
    text = PAGE.read_text()
    assert set(re.findall(r"\bReco[A-Z]\w+", text)) <= {rule.name for rule in ALERTS}
    assert all(Path(page).is_file() for page in re.findall(r"docs/[\w-]+\.md|deploy/[\w/-]+\.yml", text))


def test_settings_words_of_the_log_and_targets_of_make_are_what_there_is() -> None:
    text = PAGE.read_text()
    settings = {f"RECO_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bRECO_[A-Z0-9_]+", text)) <= settings
    source = "\n".join(path.read_text() for path in Path("service").rglob("*.py"))
    source += re.sub(r"(?m)^([a-z-]+):", r"make \1", Path("Makefile").read_text())
    said = re.findall(r"`((?:API|[a-z]+)(?: [a-z]+)+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    assert len(said) > 5
    assert [words for words in said if words not in source] == []


@pytest.mark.parametrize("query", list(chain.from_iterable(blocks("promql"))))
def test_a_query_uses_series_and_labels_that_a_running_service_has(query: str, series: Series) -> None:
    assert missing(query, series) == []
    assert unknown_labels(query, series) == set()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A service with two bundles, a retraining that failed, and the variables of the commands."""
    folder = tmp_path_factory.mktemp("runbook")
    publish(folder / "bundles")
    bundle = publish(folder / "bundles", make_content(seed=2))
    with serving(registry=folder / "bundles", retrain_data=folder, retrain_command="false") as client:
        job = client.post("/retrain").raise_for_status().json()["job"]["id"]
        wait_until(lambda: _state(client, job) == "failed")
        yield {"RECO": str(client.base_url).rstrip("/"), "JOB": job, "BUNDLE": bundle.bundle_id}


def _state(client: httpx.Client, job: str) -> str:
    return str(client.get(f"/retrain/{job}").json()["job"]["state"])


LINES = [line.partition("  #")[0].rstrip() for line in chain.from_iterable(COMMANDS)]
INLINE = re.findall(r"`(call [^`]+)`", PAGE.read_text())


@pytest.mark.parametrize("command", dict.fromkeys([*LINES, *INLINE]))
def test_a_command_is_answered(command: str, environment: dict[str, str]) -> None:
    given = [f"export {name}={value}" for name, value in environment.items()]
    script = "\n".join([*SETUP, *given, command])
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(b"{")
