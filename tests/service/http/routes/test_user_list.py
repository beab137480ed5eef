"""GET /users finds users of the bundle by the beginning of their ids, and never those who were forgotten."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import make_content
from servers import publish, serving

from index.bundle import Bundle
from service.http.responses import UsersAnswer
from service.http.routes import user_list


def ask(client: httpx.Client, **query: Any) -> dict[str, Any]:
    response = client.get("/users", params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    UsersAnswer.model_validate(answer)
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [user["user_id"] for user in answer["users"]]


def pages(client: httpx.Client, **query: Any) -> list[list[str]]:
    """The ids of every page."""
    answers = [ask(client, **query)]
    while answers[-1]["next"] is not None:
        answers.append(ask(client, **query, after=answers[-1]["next"]))
    return [ids(answer) for answer in answers]


def test_users_are_found_by_the_beginning_of_their_ids_with_how_many_items_they_had(
    client: httpx.Client, bundle: Bundle
) -> None:
    answer = ask(client, prefix="user-2", k=50)

    rows = [2, *range(20, 30)]
    assert answer["users"] == [{"user_id": f"user-{row}", "items": len(bundle.seen(row))} for row in rows]
    assert (answer["bundle"], answer["next"]) == (bundle.bundle_id, None)


def test_the_pages_together_list_each_user_once(client: httpx.Client) -> None:
    found = pages(client, prefix="user-1", k=4)

    assert [len(page) for page in found] == [4, 4, 3]
    assert [one for page in found for one in page] == ["user-1", *(f"user-{row}" for row in range(10, 20))]


def test_a_page_that_would_take_long_ends_early_and_names_where_to_go_on(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_list, "CHUNK", 3)
    monkeypatch.setattr(user_list, "MOST_SCANNED", 12)

    assert pages(client, prefix="user-29") == [[], [], ["user-29"]]


def test_a_prefix_is_read_letter_by_letter_in_any_script(tmp_path: Path) -> None:
    publish(tmp_path, make_content(n_users=4, user_ids=["жанна", "Жан", "жан", "u*"]))
    with serving(registry=tmp_path) as client:
        assert ids(ask(client, prefix="жан")) == ["жанна", "жан"]
        assert ids(ask(client, prefix="*")) == []


def test_forgotten_people_are_not_listed(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path) as client:
        assert client.delete("/users/user-25").status_code == 200

        assert ids(ask(client, prefix="user-2", k=500)) == [
            "user-2",
            *(f"user-{row}" for row in range(20, 30) if row != 25),
        ]
        assert ids(ask(client, prefix="user-25")) == []


def test_a_place_that_is_none_is_refused(client: httpx.Client) -> None:
    response = client.get("/users", params={"after": "user-3"})
    assert (response.status_code, response.json()["error"]) == (422, "invalid_request")
    assert "after" in response.json()["detail"]
