import asyncio
import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from fleets import Fleet, cluster, watched
from redis.asyncio import RedisCluster, SSLConnection
from servers import Valkey

from index.errors import InputError
from service.redis.check import check_redis
from service.redis.client import connect, read_many
from service.settings import Settings
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

    check_redis(settings)

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


TLS = "ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_password=pw&ssl_check_hostname=false"


def test_every_tls_option_holds_for_the_sentinels_as_for_the_master() -> None:
    found = connect(
        f"rediss+sentinel://one,two/shop?{TLS}&ssl_min_version=TLSv1.3&sentinel_username=w&sentinel_password=x"
    )
    pool = found.connection_pool  # type: ignore[union-attr]
    expected = {
        "ssl_ca_certs": "/ca.pem",
        "ssl_certfile": "/c.pem",
        "ssl_keyfile": "/k.pem",
        "ssl_password": "pw",
        "ssl_check_hostname": False,
        "ssl_min_version": ssl.TLSVersion.TLSv1_3,
    }
    sentinels = [one.connection_pool for one in pool.sentinel_manager.sentinels]
    assert all(expected.items() <= asked.connection_kwargs.items() for asked in (pool, *sentinels))
    assert all(issubclass(asked.connection_class, SSLConnection) for asked in (pool, *sentinels))
    assert [(one.connection_kwargs["username"], one.connection_kwargs["password"]) for one in sentinels] == [
        ("w", "x")
    ] * 2


def test_a_url_that_redis_cannot_read_is_refused() -> None:
    with pytest.raises(InputError, match="RECO_REDIS_URL: expected a port"):
        connect("redis+cluster://host:port")
