import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from bundles import make_content
from made_events import made
from servers import publish, serving

from index.errors import InputError
from service.events.event import GivenEvent
from service.events.kinds import BUILT_IN, event_kinds, trainer_arguments
from service.events.open_log import open_intake
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.users.fold_in_events import profile_from_events

OWN = """
[kinds.play]
weight = 2.0
by = "portion"
counts_as = "click"
trains = true
[kinds.order]
weight = 3.0
counts_as = "conversion"
trains = true
[kinds.skip]
dislikes = true
[kinds.scroll]
"""


def settings(folder: Path, text: str = OWN, name: str = "kinds.toml") -> Settings:
    (folder / name).write_text(text)
    return Settings(registry=folder, event_kinds_file=folder / name)


def test_without_a_file_the_kinds_have_the_weights_of_the_settings(tmp_path: Path) -> None:
    kinds = event_kinds(Settings(registry=tmp_path, event_weight_view=0.0, event_weight_like=2.0))
    assert kinds.names == ["click", "dislike", "impression", "like", "purchase", "view"]
    assert (kinds.strength(made("1", kind="view")), kinds.strength(made("2", kind="like"))) == (0.0, 2.0)
    assert (kinds.positive, kinds.in_profile) == (BUILT_IN.positive, BUILT_IN.in_profile)
    assert trainer_arguments(Settings(registry=tmp_path)) == ()


def test_a_file_decides_what_a_kind_does(tmp_path: Path) -> None:
    kinds = event_kinds(settings(tmp_path))
    assert kinds.names == ["impression", "order", "play", "scroll", "skip"]
    assert (kinds.positive, kinds.disliking) == ({"play", "order"}, {"skip"})
    assert [kinds.role(name) for name in kinds.names] == ["shown", "bought", "clicked", None, None]
    assert trainer_arguments(settings(tmp_path)) == ("--positive", "order,play", "--negative", "skip")


def test_json_says_the_same(tmp_path: Path) -> None:
    text = json.dumps({"kinds": {"order": {"weight": 1, "counts_as": "conversion"}}})
    assert event_kinds(settings(tmp_path, text, "kinds.json")).role("order") == "bought"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kinds]", "kinds: .*at least 1"),
        ("[kinds.Play]", "kinds.*pattern"),
        ("[kinds.play]\nweight = -1", "weight.*greater than or equal to 0"),
        ("[kinds.play]\nwieght = 1", "wieght"),
        ("[kinds.clicked]", "clicked: expected a name other than answers, clicked"),
        ("[kinds.impression]", "impression: expected a name other"),
        ("[kinds.skip]\ndislikes = true\nweight = 1.0", "a kind that dislikes has no weight"),
        ('[kinds.play]\nby = "portion"', "by needs a weight"),
        ("kinds = [", "kinds.toml"),
    ],
)
def test_a_wrong_file_is_refused_with_what_was_expected(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        event_kinds(settings(tmp_path, text))


def test_another_ending_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a file that ends in \.json or \.toml"):
        event_kinds(settings(tmp_path, OWN, "kinds.yaml"))
    with pytest.raises(InputError, match="No such file"):
        event_kinds(Settings(registry=tmp_path, event_kinds_file=tmp_path / "none.toml"))


def test_the_portion_viewed_scales_an_event_and_without_one_it_counts_whole(tmp_path: Path) -> None:
    kinds, bundle = event_kinds(settings(tmp_path)), publish(tmp_path / "registry", make_content())
    played = [made("1", kind="play", portion=0.25, item_id="item-1"), made("2", kind="play", item_id="item-2")]
    profile = profile_from_events(bundle, None, [*played, made("3", kind="scroll", item_id="item-3")], kinds)
    assert profile is not None
    assert dict(zip(profile.past.tolist(), profile.strengths.tolist(), strict=True)) == {1: 0.5, 2: 2.0}


def test_kinds_that_a_file_no_longer_has_stay_readable_and_have_no_effect(tmp_path: Path) -> None:
    async def append(changed: Settings, kind: str) -> list[str]:
        async with open_intake(changed, Metrics(), time.time) as intake:
            await intake.accept([GivenEvent(user_id="ann", item_id="item-1", kind=kind)])
            assert [event.kind for _, event in await intake.log.read(0, 9) if event][-1] == kind
            return [event.kind for event in await intake.log.user_events("ann")]

    assert asyncio.run(append(settings(tmp_path), "play")) == ["play"]
    later = settings(tmp_path, "[kinds.order]\nweight = 1.0", "later.toml")
    assert asyncio.run(append(later, "order")) == ["order"]
    assert asyncio.run(append(settings(tmp_path), "skip")) == ["play", "order", "skip"]


def test_the_service_takes_the_kinds_of_the_file_and_refuses_others(tmp_path: Path) -> None:
    publish(tmp_path / "registry")
    chosen = {"registry": tmp_path / "registry", "event_kinds_file": settings(tmp_path).event_kinds_file}
    with serving(**chosen, data=tmp_path / "data") as client:

        def sent(**changes: Any) -> Any:
            body = {"user_id": "ann", "item_id": "item-1", "request_id": "r1", **changes}
            return client.post("/events", json=body)

        assert sent(kind="impression", value=2).status_code == 202
        assert sent(kind="play", portion=0.5, event_id="p").status_code == 202
        assert [sent(kind="order", value=20, quantity=3, event_id="o").status_code for _ in range(2)] == [202, 202]
        assert sent(kind="order", value=0.125, quantity=1, item_id="item-9").status_code == 202
        assert sent(kind="order", item_id="item-9").status_code == 202  # without a price
        found = client.get("/quality").json()["overall"]
        assert (found["clicks"], found["conversions"], found["revenue"]) == (1, 2, 60.125)
        assert found["revenue_per_answer"] == 60.125
        assert found["events"] == {"impression": 1, "order": 3, "play": 1}
        assert client.get("/recommend/ann").json()["source"] == "fold_in"
        refused = sent(kind="click")
        assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")
        assert "expected one of impression, order, play, scroll, skip" in refused.json()["detail"]
        assert "beyond 1000000000" in sent(kind="order", value=1e9, quantity=2).json()["detail"]
        for wrong in ({"portion": 1.5}, {"quantity": -1}):
            assert sent(kind="play", **wrong).status_code == 422
