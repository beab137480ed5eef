import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from fleets import Fleet, cluster, watched
from redis.asyncio import RedisCluster
from servers import Valkey

from index.errors import InputError
from service.redis.client import connect, read_many
from service.settings import Settings
from service.settings_types import redis_kind
from service.telemetry.metrics import Metrics
from service.users.vector_cache import open_cache

Start = Callable[[Path], AbstractContextManager[Fleet]]


@pytest.fixture(params=[cluster, watched], ids=["cluster", "sentinel"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    start: Start = request.param
    with start(tmp_path) as fleet:
        yield fleet


def test_vectors_are_kept_and_found_again_after_the_master_was_lost(fleet: Fleet) -> None:
    metrics = Metrics()
    own = {b"reco:b1:user:=%d" % i: np.full(4, i, np.float32) for i in range(40)}
    settings = Settings(
        registry=Path("none"),
        redis_url=fleet.url,
        redis_budget_ms=2_000,
        redis_retry_s=0.1,
        redis_failures=1,  # type: ignore[arg-type]
    )

    def written() -> float:
        return metrics.registry.get_sample_value("reco_redis_writes_total", {"outcome": "done"}) or 0.0

    async def run() -> None:
        async with open_cache(settings, metrics, random.Random(0)) as cache:
            assert cache is not None

            async def found() -> int:
                answers = await asyncio.gather(*(cache.get(key, own[key]) for key in own))
                assert all((vector == own[key]).all() for key, (vector, _) in zip(own, answers, strict=True))
                return sum(cached for _, cached in answers)

            await found()
            async with asyncio.timeout(60):
                while written() < len(own):
                    await asyncio.sleep(0.01)
            assert await found() == len(own)
            await asyncio.sleep(0.2)  # replication is not waited for by anybody
            fleet.kill(0)
            async with asyncio.timeout(60):
                while await found() < len(own):
                    await asyncio.sleep(0.05)
            assert cache.state == "closed"

    asyncio.run(run())


def test_one_server_is_read_in_one_round_trip(valkey: Valkey) -> None:
    async def run() -> None:
        client = connect(valkey.url)
        await client.set(b"a", b"1")
        assert await read_many(client, [b"a", b"b"]) == [b"1", None]
        await client.aclose()

    asyncio.run(run())


def test_a_url_says_what_is_behind_it() -> None:
    assert [redis_kind(url) for url in ("redis://h", "rediss+cluster://h", "redis+sentinel://h/x")] == [
        "",
        "cluster",
        "sentinel",
    ]


def test_user_password_and_options_reach_every_server_of_the_url() -> None:
    found = connect("rediss+cluster://ann:p%40ss@one:7000,two/?ssl_cert_reqs=none")
    assert isinstance(found, RedisCluster)
    assert [(node.host, node.port) for node in found.startup_nodes] == [("one", 7000), ("two", 6379)]
    told = found.connection_kwargs
    assert (told["username"], told["password"], told["ssl_cert_reqs"]) == ("ann", "p@ss", "none")


def test_a_sentinel_may_have_a_password_of_its_own() -> None:
    found = connect("redis+sentinel://:data@one,two:5000/shop/3?sentinel_password=watch")
    pool = found.connection_pool  # type: ignore[union-attr]
    assert (pool.service_name, pool.connection_kwargs["db"], pool.connection_kwargs["password"]) == ("shop", 3, "data")
    kwargs = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["password"]) for one in kwargs] == [
        ("one", 26379, "watch"),
        ("two", 5000, "watch"),
    ]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://host:port", "Port"),
        ("http://host", "redis, rediss, unix, redis.sentinel"),
        ("redis+sentinel://host", "ends in the name of the service"),
        ("redis+sentinel:///shop", "at least one host"),
        ("redis+cluster://host/3", "one database only"),
        ("redis+cluster://host:port", "Port"),
    ],
)
def test_a_url_that_redis_cannot_read_is_refused(url: str, said: str) -> None:
    with pytest.raises(InputError, match=f"RECO_REDIS_URL: .*{said}"):
        connect(url)
