"""Nothing that the service says to anybody but the holder holds a secret, whatever is provoked."""

from pathlib import Path

import httpx
import pytest
from processes import process, stop
from servers import Valkey, wait_until

from service.http.security.keys import digest_of, new_key

PASSWORD = "correct-horse-battery"
KEYS = {"read": "reader", "admin": "admin"}
PROVOKED = [
    "/recommend/user-1?explain=true",
    "/recommend/user-1?k=none",
    "/recommend/%FF",
    "/items/none",
    "/similar/none?by=nothing",
    "/retrain",
    "/none",
    "/readyz",
    "/metrics",
    "/openapi.json",
]


@pytest.mark.parametrize("redis", ["right", "refuses", "away"])
def test_no_key_and_no_password_stands_in_logs_metrics_errors_or_the_audit(
    registry: Path, tmp_path: Path, redis: str
) -> None:
    file, audit, log = tmp_path / "keys.jsonl", tmp_path / "audit.jsonl", tmp_path / "log"
    keys, lines = zip(*(new_key(name, role) for role, name in KEYS.items()), strict=True)  # type: ignore[arg-type]
    file.write_text("\n".join(lines))
    wrong = new_key("stranger", "admin")[0]
    password = PASSWORD if redis != "refuses" else PASSWORD + "-wrong"
    server = Valkey(tmp_path / "valkey").start()
    url = f"redis://:{password}@127.0.0.1:{1 if redis == 'away' else server.port}/0"
    said = []
    try:
        with server.client() as client:
            client.config_set("requirepass", PASSWORD)
        settings = {"api_keys_file": file, "audit_file": audit, "log_level": "debug", "redis_url": url}
        with process(registry, log, api_keys_reload_s=0.02, **settings) as (running, http):
            for key in (*keys, wrong, None):
                headers = {} if key is None else {"Authorization": f"Bearer {key}"}
                for path in PROVOKED:
                    said.append(http.get(path, headers=headers))
                said.append(http.post("/events", headers=headers, content=b'{"user_id": 1'))
                said.append(http.post("/retrain", headers=headers))
            file.write_text(f"{lines[0]}\n{keys[1]}\n")  # a key in place of its line
            wait_until(lambda: "not reloaded" in log.read_text())
            stop(running)
    finally:
        server.kill()
    assert {response.status_code for response in said} >= {200, 401, 403, 404, 422}
    _clean(said, [log.read_text(), audit.read_text()], (*keys, wrong, password))


def _clean(said: list[httpx.Response], files: list[str], secrets: tuple[str, ...]) -> None:
    texts = [*files, *(response.text for response in said), *(str(response.headers) for response in said)]
    hidden = [*secrets, *(digest_of(secret.encode()).hex() for secret in secrets)]
    for secret in hidden:
        assert not [text for text in texts if secret in text]
