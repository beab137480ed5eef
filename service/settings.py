"""The settings of the service, read once at start from RECO_* environment variables, in one frozen group per room.

A function takes the group that it needs, so that its signature says which settings it may read; a group that extends
another includes its settings. An unknown RECO_* variable is an error, since it is most likely a typo.
"""

import difflib
import os
import shlex
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

import httpx
from croniter import croniter
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from index.cli import COPIES
from index.errors import InputError
from index.experiments import NAME
from index.gate_report import GateLimits
from index.registry import Registry, absolute_place, open_registry
from index.validation import expectation
from service.image_hosts import parse_host
from service.redis_url import parse_redis_url
from service.settings_types import Burst, PerSecond

PREFIX = "RECO_"
ELSEWHERE = {  # what decides instead of a variable that is no setting
    "RECO_EVENT_HALF_LIFE_DAYS": "the bundle's recency weighs past items, by their rank in events (docs/bundle.md)"
}
OF_CALLERS = PREFIX + "KEY"  # the API key of a caller in the same shell, by the console's commands
MEGABYTE = 1_000_000

Count = Annotated[int, Field(ge=1)]


def _split_names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def _path_to_text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProcessSettings(_Group):
    """The registry, the data folder and the log level."""

    registry: Annotated[str, BeforeValidator(_path_to_text)] = Field(
        description="folder or bucket (s3://shop/bundles) with the bundles and the pointer to the published one"
    )
    registry_copies: Path | None = Field(
        None, description="folder that bundles of a bucket are downloaded to; not shared with other processes"
    )
    data: Path | None = Field(
        None,
        description="folder of the service's own data (events, jobs); unset: `service` in the registry's folder",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level to log; debug logs every request"
    )

    @property
    def data_folder(self) -> Path:
        """The folder of the service's own data; it may not exist yet."""
        return self.data or Path(self.registry) / "service"

    def open_registry(self) -> Registry:
        """The registry, one object for the whole process; InputError where its URL is invalid."""
        return open_registry(absolute_place(self.registry), self.registry_copies or COPIES)

    @model_validator(mode="after")
    def _folders_with_a_bucket(self) -> Self:
        for name in ("data", "registry_copies") if "://" in self.registry else ():
            if getattr(self, name) is None:
                raise ValueError(f"registry={self.registry} is not a folder, so {PREFIX}{name.upper()} must name one")
        return self


class HttpSettings(_Group):
    """The server: addresses, limits, timeouts, documentation, response cache, traces."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0: any free one")
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        1,
        description="number of processes that serve the port together (docs/workers.md); `run --workers` goes first",
    )
    max_in_flight: Count = Field(
        512,
        description="maximum number of requests in flight, each from when all of it has arrived; further ones are "
        "refused immediately (503)",
    )
    max_connections: Count | None = Field(
        None,
        description="maximum number of connections of each port; on further ones only probes and /metrics are "
        "answered; unset: 4,096, or what `ulimit -n` leaves",
    )
    request_timeout_s: Seconds = Field(10.0, description="timeout of a response (504); admin requests have none")
    read_timeout_s: Seconds = Field(
        10.0, description="timeout for receiving a request (408), and for sending a response"
    )
    head_max_bytes: Count = Field(65_536, description="maximum size of the request line and headers together")
    body_max_bytes: Count = Field(1_048_576, description="maximum size of a request body")
    request_cost_max: Count = Field(
        1_000, description="maximum cost of one request in tokens, of about half a millisecond (docs/serving.md)"
    )
    id_max_chars: Count = Field(512, description="maximum length of a user or item id")
    keep_alive_s: Count = Field(75, description="seconds after which an idle connection is closed")
    drain_s: Seconds = Field(20.0, description="after SIGTERM, how long requests in flight may take to finish")
    drain_delay_s: Annotated[float, Field(ge=0)] = Field(
        0.0, description="after SIGTERM, how long /readyz responds 503 before new connections are refused"
    )
    trusted_proxies: Names = Field(
        (), description="comma-separated addresses or networks whose X-Forwarded-For is trusted; `*`: all"
    )
    cors_origins: Names = Field((), description="comma-separated origins whose pages may send requests; none: no CORS")
    docs: bool = Field(True, description="serve /docs and /openapi.json")
    console: bool | None = Field(
        None,
        description="serve /console (docs/console.md), on admin_port if set; unset: where only this machine reaches "
        "the service. Elsewhere it needs api_keys_file and admin_port",
    )
    answer_cache_mb: Annotated[int, Field(ge=0)] = Field(
        128, description="size of the response cache in megabytes; 0: no responses are cached"
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="URL of an OpenTelemetry collector, such as http://collector:4318; unset: no traces",
    )
    otlp_share: float = Field(1.0, ge=0, le=1, description="share of requests to trace where the caller did not decide")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name != "*":
                ip_network(name, strict=False)  # ValueError
        return names


class RedisSettings(_Group):
    """Redis, and the cache of user vectors in it."""

    redis_url: SecretStr | None = Field(
        None,
        description="`redis://`, `rediss://` or `unix://`; `redis+sentinel://host,host/NAME` under Sentinel, "
        "`redis+cluster://host,host` for a cluster (`rediss+` with TLS); unset: no Redis",
    )
    namespace: str = Field("reco", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="prefix of every Redis key")
    redis_ttl_s: Count = Field(86_400, description="time to live of a user vector in Redis")
    redis_ttl_jitter: float = Field(
        0.1, ge=0, lt=1, description="random variation of the time to live, so that keys do not expire together"
    )
    redis_budget_ms: Seconds = Field(10.0, description="timeout of a read from Redis by a request")
    redis_failures: Count = Field(3, description="consecutive failures after which the circuit to Redis opens")
    redis_retry_s: Seconds = Field(
        1.0, description="how long the circuit stays open before one request tries Redis again"
    )
    redis_pending_writes: Count = Field(
        1_024, description="maximum number of vectors waiting to be written; further ones are dropped"
    )

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse_redis_url(url.get_secret_value())
        return url


class SecuritySettings(RedisSettings):
    """API keys, rate limits, the admin port and the audit log."""

    api_keys_file: Path | None = Field(
        None, description="file of API keys, reloaded when it changes (docs/security.md); unset: no key is required"
    )
    api_keys_reload_s: Seconds = Field(1.0, description="interval between reloads of the file of API keys")
    admin_open: bool = Field(False, description="without API keys: allow admin requests from every caller")
    rate_limit_per_s: PerSecond | None = Field(
        None, description="requests per second of one key (without keys: of one client address); unset: no limit"
    )
    rate_limit_burst: Burst | None = Field(
        None, description="requests allowed at once after a pause; unset: those of one second"
    )
    admin_host: str = Field("127.0.0.1", description="address to listen on with admin_port")
    admin_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="separate port for admin requests, which then get 404 on the main port; unset: the main port",
    )
    metrics_on_admin: bool = Field(False, description="serve /metrics on admin_port only, without a key")
    audit_file: Path | None = Field(
        None, description="file to which each admin request is appended as a line of JSON; unset: only the log has it"
    )

    @model_validator(mode="after")
    def _metrics_have_a_port(self) -> Self:
        if self.metrics_on_admin and self.admin_port is None:
            raise ValueError("metrics_on_admin needs an admin_port")
        return self


class EventSettings(RedisSettings, ProcessSettings):
    """The event log."""

    event_log: Literal["sqlite", "redis"] = Field(
        "sqlite",
        description="where events and items are stored: files in the data folder, or Redis for several replicas",
    )
    event_log_safe: bool = Field(
        True,
        description="event_log=redis: respond once the append-only file is synced; refuse a Redis that may lose data",
    )
    event_log_replicas: Annotated[int, Field(ge=0)] = Field(
        0, description="event_log=redis: number of Redis replicas that must also have synced an event or an item"
    )
    event_log_timeout_s: Seconds = Field(5.0, description="event_log=redis: timeout of a write (503)")
    events_max_batch: Count = Field(1_000, description="maximum number of events in one POST /events")
    events_waiting: Count = Field(
        10_000, description="maximum number of events waiting to be written; further ones are refused (429)"
    )
    events_per_user: Count = Field(100, description="number of a user's latest events that the profile is made from")
    event_future_s: Seconds = Field(86_400, description="how far an event's timestamp may be in the future")
    event_retention_days: Seconds = Field(
        90, description="days after which exported events and the figures of /quality are removed"
    )
    events_kept: Count = Field(
        1_000_000, description="number of events in the log above which exported ones are removed"
    )
    event_kinds_file: Path | None = Field(
        None,
        description="file of the kinds of events, .json or .toml (docs/feedback.md), read at start; unset: those with "
        "the weights below, and dislike",
    )
    event_weight_view: Weight = Field(1.0, description="weight of a view in user profiles and in /trending")
    event_weight_click: Weight = Field(1.0, description="weight of a click")
    event_weight_like: Weight = Field(1.0, description="weight of a like")
    event_weight_purchase: Weight = Field(1.0, description="weight of a purchase")
    log_impressions: bool = Field(
        False, description="log an impression for every response of /recommend except batches"
    )


class ItemSettings(EventSettings):
    """Items that callers put (docs/items.md); they are stored where events are."""

    items_max_batch: Count = Field(1_000, description="maximum number of items in one POST /items")
    live_items_max: Count = Field(
        50_000,
        description="maximum number of stored items that training has not seen; further ones are refused (507)",
    )


class UserSettings(EventSettings):
    """User profiles between trainings, and trending items."""

    profile_cache_mb: Annotated[float, Field(ge=0)] = Field(
        48.0, description="size of the cache of user profiles in megabytes; 0: none are cached"
    )
    lru_stale_s: Seconds = Field(
        5.0, description="maximum age of a cached profile while messages from other replicas cannot be received"
    )
    live_poll_s: Seconds = Field(
        1.0, description="interval between polls of the event log, which find events whose message was lost"
    )
    unknown_user: Literal["popular", "404"] = Field(
        "popular", description="response for an unknown user: popular items, or an error"
    )
    trending_half_life_hours: Seconds = Field(
        24.0, description="half-life of an event in /trending, where the request has none"
    )
    trending_hours: Count = Field(720, description="age in hours up to which events count in /trending")
    trending_counts: Count = Field(
        100_000, description="maximum number of counts by item and hour; the oldest hours are evicted"
    )

    exploration_half_life_days: Seconds = Field(
        7.0, description="half-life of the impressions and clicks that exploration knows items by"
    )
    exploration_refresh_s: Seconds = Field(
        60.0, description="interval at which explored lists take in new impressions and clicks"
    )
    exploration_items: Count = Field(
        200_000,
        description="maximum number of items whose impressions and clicks are counted; the least shown are evicted",
    )
    exploration_places: Count = Field(
        500_000,
        description="maximum number of shown items held in memory until they are clicked; the oldest are evicted",
    )

    @property
    def unknown_user_statuses(self) -> tuple[int, ...]:
        """The statuses of an error for an unknown user."""
        return (404,) if self.unknown_user == "404" else ()


class MilvusSettings(_Group):
    """The search in Milvus (docs/beyond-one-machine.md)."""

    milvus_uri: Annotated[str, Field(pattern="^https?://")] | None = Field(
        None, description="address of Milvus, `http://HOST:19530[/DATABASE]`; unset: the bundle's own index is searched"
    )
    milvus_token: SecretStr | None = Field(None, description="`USER:PASSWORD` or a key, where Milvus asks for one")
    milvus_timeout_ms: Annotated[float, Field(ge=1, le=10_000)] = Field(
        500.0, description="timeout of one call to Milvus; a search rarely needs two"
    )
    milvus_threads: Annotated[int, Field(ge=1, le=64)] = Field(8, description="calls to Milvus that may run at once")
    milvus_failures: Count = Field(3, description="consecutive failures after which the circuit to Milvus opens")
    milvus_retry_s: Seconds = Field(1.0, description="how long the circuit stays open before one search tries Milvus")
    milvus_fallback: Literal["local", "none"] = Field(
        "local", description="while Milvus fails: search the bundle's own index, or refuse (503 `index_unavailable`)"
    )

    @field_validator("milvus_uri")
    @classmethod
    def _no_password(cls, uri: str | None) -> str | None:
        if uri is not None:
            parsed = TypeAdapter(HttpUrl).validate_python(uri)
            if parsed.username or parsed.password:
                raise ValueError(f"expected no user and password in it: set {PREFIX}MILVUS_TOKEN=USER:PASSWORD")
        return uri


class RankingSettings(MilvusSettings):
    """Lists of items: their limits, rules, diversity, sessions, search."""

    k_default: Count = Field(10, description="items in a response to a request without k")
    k_max: Count = Field(500, description="maximum number of items in a response")
    depth_max: Count = Field(1_000, description="maximum of offset + k")
    batch_max: Count = Field(100, description="maximum number of users in one POST /recommend/batch")
    rank_max: Count = Field(1_000, description="maximum number of candidates in one POST /rank")
    new_item_weight: Annotated[float, Field(gt=0, le=10)] = Field(
        1.0, description="factor on the scores of items that training has not seen; above 1 lists show more of them"
    )
    entries_max: Count = Field(
        500,
        description="maximum number of entries in each list of a request: session items, filters, rules of a kind",
    )
    diversity_pool: Count = Field(
        200,
        description="number of best-scored candidates that diversity and a seed may reorder",
    )
    exploration: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of the places of /recommend given to items that few have seen, unless a request says"
    )
    exploration_few: Count = Field(100, description="impressions from which on an item is not explored")
    exploration_pool: Count = Field(
        200, description="number of a user's best-scored items with few impressions from which explored ones are drawn"
    )
    session_like_weight: Annotated[float, Field(gt=0, le=1_000)] = Field(
        2.0, description="weight of a liked item of a session, relative to a viewed one"
    )
    session_dislike_weight: Annotated[float, Field(ge=0, le=1_000)] = Field(
        0.5, description="negative weight of a disliked item of a session; 0: the item is only left out"
    )
    rules_file: Path | None = Field(
        None, description="file of rules, .json or .toml (docs/answers.md), reloaded when it changes; unset: none"
    )
    rules_reload_s: Seconds = Field(1.0, description="interval between reloads of the files of rules and experiments")
    past_items: Annotated[int, Field(ge=0)] = Field(3, description="number of past items named in an explanation")
    item_cache: Count = Field(100_000, description="number of items whose decoded metadata is cached")
    images: str | None = Field(
        None,
        description="URL prefix of pictures, or a folder, which /images then serves (docs/answers.md); unset: "
        "references stay as given",
    )
    recall_sample: Annotated[int, Field(ge=0)] = Field(
        100,
        description="one in so many searches of an approximate index is repeated exactly, in a thread that gives way, "
        "to measure recall; 0: none",
    )
    gpu: Literal["auto", "off"] = Field("auto", description="search on GPUs where FAISS finds any (docs/gpu.md)")
    gpu_spread: Literal["replicas", "shards"] = Field(
        "replicas", description="several GPUs: the whole index on each, or a part of its rows on each"
    )
    gpu_float16: bool = Field(False, description="a flat index on a GPU in half the memory; scores stay exact")
    gpu_gather_ms: Annotated[float, Field(ge=0, le=100)] = Field(
        0.0, description="how long a search on a GPU may wait for others to be searched with it"
    )

    @field_validator("images")
    @classmethod
    def _prefix_or_folder(cls, images: str | None) -> str | None:
        if images is None or Path(images).is_dir():
            return images
        if not images.startswith(("https://", "http://")):
            raise ValueError("expected a folder that exists, or a prefix that begins with https:// or http://")
        prefix = TypeAdapter(HttpUrl).validate_python(images)
        if not images.isprintable():
            raise ValueError("expected a URL prefix without line breaks and other control characters")
        if prefix.query is not None or prefix.fragment is not None:
            raise ValueError("expected a URL prefix without ? and #: the names of pictures are put behind it")
        return images

    @model_validator(mode="after")
    def _default_within_max(self) -> Self:
        if self.k_default > self.k_max:
            raise ValueError(f"k_default is {self.k_default}, above k_max {self.k_max}")
        if self.k_max > self.depth_max:
            raise ValueError(f"k_max is {self.k_max}, above depth_max {self.depth_max}")
        return self


class EncodingSettings(ProcessSettings):
    """Texts and pictures of new items (docs/encoding.md)."""

    encode: bool = Field(
        True, description="encode texts and pictures of items, by the extra `encode`; false: ready features only"
    )
    encode_memory_mb: Annotated[int, Field(ge=256)] = Field(
        2_048, description="memory limit of the process that encodes, in megabytes"
    )
    encode_timeout_s: Seconds = Field(20.0, description="timeout of one batch: 16 texts or 8 pictures")
    encode_threads: Annotated[int, Field(ge=1, le=64)] = Field(1, description="threads of the process that encodes")
    encoded_max_mb: Count = Field(
        1_000, description="size of the cache of features, `encoded.sqlite` in the data folder; the oldest are evicted"
    )
    image_hosts: Names = Field(
        (),
        description="comma-separated hosts that pictures are fetched from, https unless written http://HOST; one with "
        "a private address needs its port; none: no URL is fetched",
    )
    image_max_bytes: Count = Field(10_000_000, description="maximum size of a picture's file")
    image_timeout_s: Seconds = Field(5.0, description="timeout of fetching one picture")

    @field_validator("image_hosts")
    @classmethod
    def _hosts(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            parse_host(entry)  # ValueError
        return entries


class BundleSettings(ProcessSettings):
    """Opening, swapping, gating and monitoring bundles."""

    verify_bundle: Literal["start", "background", "off"] = Field(
        "start",
        description="when all checksums are verified: before serving, after the start, or never; a swap verifies first "
        "unless off; the index always",
    )
    bundle_files: Literal["mapped", "memory"] = Field(
        "mapped", description="memory: read all files, so that a truncated file cannot kill the process (SIGBUS)"
    )
    bundle_fallback: bool = Field(
        True, description="serve an earlier bundle where the published one is damaged at start"
    )
    bundle_poll_s: Seconds = Field(2.0, description="interval between polls of the registry's pointer")
    bundle_check_s: Seconds = Field(
        10.0, description="interval between checks of sizes and times of the bundle's files"
    )
    bundle_sums_hours: Seconds = Field(24.0, description="interval between checks of all checksums while serving")
    warm_up_requests: Annotated[int, Field(ge=0, le=10_000)] = Field(
        200, description="number of recent requests replayed against a new bundle before it serves"
    )
    warm_up_p99_ms: Seconds = Field(1_000.0, description="maximum p99 of the replayed requests")
    warm_up_mb: Annotated[int, Field(ge=0)] = Field(
        2_048, description="megabytes of a new bundle to read into memory before it serves"
    )
    gate: GateLimits = Field(
        GateLimits(), description='limits of the gate that differ from docs/bundle.md, such as `{"metric_margin": 0.1}`'
    )
    gate_timeout_s: Seconds = Field(600.0, description="timeout of the gate")
    watch_s: Annotated[float, Field(ge=0)] = Field(
        120.0, description="how long a new bundle is monitored and may be rolled back automatically; 0: never"
    )
    watch_min_requests: Count = Field(
        100, description="number of answers, those to the callers with most say left out, below which it is not judged"
    )
    watch_max_error_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.02, description="share of answers with 500 or 504 above which it is rolled back"
    )
    watch_max_p99_ms: Seconds = Field(100.0, description="duration up to which an answer is not slow; 1% may be slow")
    watch_max_p99_ratio: Annotated[float, Field(ge=1)] = Field(
        3.0, description="above watch_max_p99_ms, how many times the p99 of the previous bundle an answer may take"
    )


class ExperimentSettings(_Group):
    """Experiments on live traffic."""

    experiments_file: Path | None = Field(
        None,
        description="file that declares which experiment runs, .json or .toml (docs/experiments.md), taken up when it "
        "changes; unset: HTTP declares it",
    )


class RetrainSettings(EventSettings):
    """Retraining."""

    retrain_data: Path | None = Field(
        None, description="prepared dataset that retraining starts from (docs/retraining.md); unset: no retraining"
    )
    retrain_launcher: Literal["process", "kubernetes", "webhook"] = Field(
        "process", description="what trains: a process on the same machine, a Kubernetes Job, an external system"
    )
    retrain_arguments: str = Field(
        "",
        description="more arguments of `trainer retrain`, in shell syntax: --config lightgcn --set training.epochs=9",
    )
    retrain_warm_start: bool = Field(
        False, description="start from the parameters of the last published job with the same arguments"
    )
    retrain_arm: Annotated[str, Field(pattern=f"^(({NAME}/)?{NAME})?$")] = Field(
        "",
        description="arm of the running experiment (`arm` or `experiment/arm`) that retrainings publish into; without "
        "it none starts by itself; empty: they publish to everybody",
    )
    retrain_after_events: Count | None = Field(
        None, description="number of new events that starts a retraining automatically; unset: never"
    )
    retrain_schedule: str | None = Field(
        None, description="cron expression, in UTC, of automatic retrainings; unset: never"
    )
    retrain_timeout_s: Seconds = Field(86_400, description="timeout of a training")
    retrain_keep: Count = Field(3, description="number of ended jobs whose folders (data, checkpoints, log) are kept")
    retrain_lease_s: Seconds = Field(
        15.0, description="time without a heartbeat of the leading replica after which another takes over"
    )
    retrain_poll_s: Seconds = Field(1.0, description="interval between polls of a training and of the triggers")
    retrain_command: str | None = Field(
        None,
        description="process: command that replaces `python -m trainer`; unset: that, with the service's own Python",
    )
    retrain_niceness: Annotated[int, Field(ge=0, le=19)] = Field(10, description="process: niceness of the trainer")
    retrain_kubernetes_namespace: str = Field(
        "default", description="kubernetes: namespace of the CronJob and the Jobs"
    )
    retrain_kubernetes_cronjob: str | None = Field(
        None, description="kubernetes: the CronJob whose template Jobs are made from"
    )
    retrain_kubernetes_config: Path | None = Field(
        None, description="kubernetes: path of a kubeconfig; unset: the service account of the pod"
    )
    retrain_webhook_url: str | None = Field(None, description="webhook: URL to which training requests are sent")
    retrain_webhook_secret: SecretStr | None = Field(
        None, description="webhook: secret that signs messages in both directions"
    )

    @field_validator("retrain_schedule")
    @classmethod
    def _cron(cls, schedule: str | None) -> str | None:
        if schedule is not None and not croniter.is_valid(schedule):
            raise ValueError(f"expected a cron expression such as '0 3 * * *', found {schedule[:80]!r}")
        return schedule

    @field_validator("retrain_webhook_url")
    @classmethod
    def _http_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        TypeAdapter(HttpUrl).validate_python(url)
        try:
            read = httpx.URL(url)  # as what sends requests reads it
        except httpx.InvalidURL:
            read = httpx.URL()
        if not (read.scheme and read.host):
            raise ValueError("expected a URL as in https://host/path, without spaces or line breaks around it")
        return url

    @field_validator("retrain_arguments", "retrain_command")
    @classmethod
    def _shell_words(cls, words: str | None) -> str | None:
        shlex.split(words or "")  # ValueError on an unclosed quotation
        return words

    @model_validator(mode="after")
    def _launcher_complete(self) -> Self:
        needed = {
            "process": (),
            "kubernetes": ("retrain_kubernetes_cronjob",),
            "webhook": ("retrain_webhook_url", "retrain_webhook_secret"),
        }
        for name in needed[self.retrain_launcher]:
            if getattr(self, name) is None:
                raise ValueError(f"retrain_launcher={self.retrain_launcher} needs {PREFIX}{name.upper()}")
        return self


GROUPS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The process", ProcessSettings),
    ("HTTP", HttpSettings),
    ("Security", SecuritySettings),
    ("Redis", RedisSettings),
    ("Events", EventSettings),
    ("Items", ItemSettings),
    ("Users and trending", UserSettings),
    ("Ranking", RankingSettings),
    ("Milvus", MilvusSettings),
    ("Encoding", EncodingSettings),
    ("Bundles", BundleSettings),
    ("Experiments", ExperimentSettings),
    ("Retraining", RetrainSettings),
)


class Settings(
    RetrainSettings,
    ExperimentSettings,
    EncodingSettings,
    BundleSettings,
    RankingSettings,
    UserSettings,
    ItemSettings,
    SecuritySettings,
    HttpSettings,
    BaseSettings,
):
    """All settings of one service process; each field is the environment variable RECO_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    @property
    def open_addresses(self) -> tuple[str, ...]:
        """The addresses that are listened on and that other machines may reach."""
        addresses = (self.host,) if self.admin_port is None else (self.host, self.admin_host)
        return tuple(address for address in addresses if not is_loopback(address))

    @property
    def is_of_this_machine(self) -> bool:
        """Whether only this machine reaches the service: by its addresses, and no proxy passes on what others send."""
        return not self.open_addresses and not self.trusted_proxies

    @property
    def shows_console(self) -> bool:
        """Whether /console is served."""
        return self.is_of_this_machine if self.console is None else self.console

    @model_validator(mode="after")
    def _console_is_guarded(self) -> Self:
        needed = {"api_keys_file": self.api_keys_file, "admin_port": self.admin_port}
        missing = [name for name, value in needed.items() if value is None]
        if self.console and self.open_addresses and missing:
            raise ValueError(
                f"found {PREFIX}CONSOLE=true, and other machines may reach {self.open_addresses[0]}; expected "
                f"{' and '.join(PREFIX + name.upper() for name in missing)} too, or a loopback address"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment; no .env or secrets files."""
        return init_settings, env_settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings() -> Settings:
    """The settings of the environment; InputError names the wrong variable and what was expected."""
    _refuse_unknown(sorted(os.environ))
    try:
        return Settings()  # type: ignore[call-arg]  # the registry comes from the environment
    except ValidationError as error:
        raise InputError("; ".join(_sentence(one) for one in error.errors(include_input=False))) from None


def _sentence(one: ErrorDetails) -> str:
    """Values are not repeated: some are secret."""
    if not one["loc"]:
        return expectation(one["msg"])
    field = str(one["loc"][0])
    name, meaning = PREFIX + field.upper(), Settings.model_fields[field].description
    if one["type"] == "missing":
        return f"{name} is not set; set this environment variable: {meaning}"
    return f"{name}: {expectation(one['msg'])} ({meaning})"


def _refuse_unknown(names: list[str]) -> None:
    """An unknown RECO_ variable is a typo of a known one far more often than a harmless extra."""
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    for name in [one for one in names if one != OF_CALLERS]:
        if name.upper() in ELSEWHERE:
            raise InputError(f"{name}: no setting of the service; {ELSEWHERE[name.upper()]}; unset it")
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0)
            raise InputError(f"{name}: unknown setting; the nearest known one is {near[0]}")
