"""Every knob of the running service: read once at the edge from RECO_* variables, frozen, a typo is an error."""

import difflib
import os
import shlex
from pathlib import Path
from typing import Annotated, Literal

from croniter import croniter
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from index.cli import COPIES
from index.errors import InputError
from index.gate_report import GateLimits
from index.registry import Registry, absolute_place, open_registry
from service.http.security.rate_limit import Burst, PerSecond
from service.redis.client import kind_of

PREFIX = "RECO_"
MEGABYTE = 1_000_000

Count = Annotated[int, Field(ge=1)]


def _split(found: object) -> object:
    return tuple(name.strip() for name in found.split(",") if name.strip()) if isinstance(found, str) else found


def _as_text(found: object) -> object:
    return str(found) if isinstance(found, Path) else found


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Seconds = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """The settings of one service process; each field is the environment variable RECO_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    registry: Annotated[str, BeforeValidator(_as_text)] = Field(
        description="what holds the bundles, a folder or a bucket (s3://shop/bundles); its pointer says which serves"
    )
    registry_copies: Path | None = Field(
        None, description="folder that the bundles of a bucket are fetched to; this process's own"
    )
    data: Path | None = Field(
        None,
        description="folder of what the service itself keeps (events, jobs); unset: `service` in the registry's folder",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    drain_s: Seconds = Field(20.0, description="after SIGTERM, how long requests in flight may take to end")
    keep_alive_s: Count = Field(75, description="how long an idle connection is kept open")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged; debug logs each request"
    )

    verify_bundle: Literal["start", "background", "off"] = Field(
        "background",
        description="when the sums of all files are checked: before a start, behind it, or never; before a swap "
        "unless never",
    )
    bundle_files: Literal["mapped", "memory"] = Field(
        "mapped", description="memory: read it all, so that nothing done to the files can end the process (SIGBUS)"
    )
    bundle_fallback: bool = Field(
        True, description="serve an earlier bundle where the published one is damaged when the process starts"
    )
    bundle_poll_s: Seconds = Field(2.0, description="how often the registry's pointer is looked at")
    bundle_check_s: Seconds = Field(10.0, description="how often sizes and times of the bundle's files are looked at")
    bundle_sums_hours: Seconds = Field(24.0, description="how often all sums are checked while serving")
    warm_up_requests: Annotated[int, Field(ge=0, le=10_000)] = Field(
        200, description="requests asked last that a new bundle must answer before it serves"
    )
    warm_up_p99_ms: Seconds = Field(1_000.0, description="most milliseconds that 99 of 100 of them may take")
    warm_up_mb: Annotated[int, Field(ge=0)] = Field(
        2_048, description="megabytes of a new bundle that are read into memory before it serves"
    )
    gate: GateLimits = Field(
        GateLimits(), description='limits of the gate that differ from docs/bundle.md: `{"metric_margin": 0.1}`'
    )
    gate_timeout_s: Seconds = Field(600.0, description="longest that the gate may take")
    watch_s: Annotated[float, Field(ge=0)] = Field(
        120.0, description="how long a newly published bundle is watched and may be rolled back by itself; 0: never"
    )
    watch_min_requests: Count = Field(100, description="requests below which nothing is said of it")
    watch_max_error_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.02, description="share of answers 500 and 504 beyond which it is rolled back"
    )
    watch_max_p99_ms: Seconds = Field(100.0, description="p99 of its answers up to which all is well")
    watch_max_p99_ratio: Annotated[float, Field(ge=1)] = Field(
        3.0, description="beyond that, how many times the p99 of the bundle before it may be"
    )

    redis_url: SecretStr | None = Field(
        None,
        description="`redis://`, `rediss://` or `unix://`; `redis+sentinel://host,host/NAME` under Sentinel, "
        "`redis+cluster://host,host` for a cluster (`rediss+` with TLS); unset: no Redis",
    )
    namespace: str = Field("reco", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="first part of every Redis key")
    redis_ttl_s: Count = Field(86_400, description="how long Redis keeps a user vector")
    redis_ttl_jitter: float = Field(
        0.1, ge=0, lt=1, description="share by which a time to live varies, so that keys do not expire at once"
    )
    redis_budget_ms: Seconds = Field(10.0, description="how long a request waits for Redis")
    redis_failures: Count = Field(3, description="failures in a row after which Redis is left alone")
    redis_retry_s: Seconds = Field(1.0, description="how long Redis is left alone before one request tries it again")
    redis_pending_writes: Count = Field(1_024, description="vectors waiting to be written; more are dropped")

    event_log: Literal["sqlite", "redis"] = Field(
        "sqlite", description="where events are kept: a file in the data folder, or a Redis Stream for several replicas"
    )
    event_log_safe: bool = Field(
        True, description="event_log=redis: answer once the append-only file is synced, refuse a Redis that may lose it"
    )
    event_log_replicas: Annotated[int, Field(ge=0)] = Field(
        0, description="event_log=redis: replicas of Redis that must have synced an event too"
    )
    event_log_timeout_s: Seconds = Field(5.0, description="event_log=redis: how long a write may take before it is 503")
    events_max_batch: Count = Field(1_000, description="most events in one call of POST /events")
    events_waiting: Count = Field(10_000, description="events waiting to be written; more are refused with 429")
    events_per_user: Count = Field(100, description="latest events of a user that the profile is made of")
    event_future_s: Seconds = Field(86_400, description="how far ahead of our clock an event's timestamp may be")
    event_retention_days: Seconds = Field(
        90, description="days after which an exported event is removed from the log, and so the figures of /quality"
    )
    events_kept: Count = Field(1_000_000, description="events in the log beyond which exported ones are removed")
    log_impressions: bool = Field(
        False, description="write an impression for every answer of /recommend, batches apart"
    )

    profile_cache_mb: Annotated[float, Field(ge=0)] = Field(
        48.0, description="megabytes of users' whole profiles kept in memory; 0: none are kept"
    )
    lru_stale_s: Seconds = Field(
        5.0, description="how old a profile in memory may be while news of other replicas cannot be heard"
    )
    live_poll_s: Seconds = Field(1.0, description="how often the log is looked into for events that were not heard of")
    unknown_user: Literal["popular", "404"] = Field("popular", description="what a user gets of whom nothing is known")
    event_half_life_days: Seconds | None = Field(
        None, description="age beside the user's newest event at which an event counts half; unset: all count alike"
    )
    event_weight_view: Weight = Field(1.0, description="what a view counts in a user's profile and in /trending")
    event_weight_click: Weight = Field(1.0, description="what a click counts")
    event_weight_like: Weight = Field(1.0, description="what a like counts")
    event_weight_purchase: Weight = Field(1.0, description="what a purchase counts")
    trending_half_life_hours: Seconds = Field(24.0, description="half-life of an event in /trending, if none is asked")
    trending_hours: Count = Field(720, description="hours of events that /trending remembers")
    trending_counts: Count = Field(100_000, description="counts by item and hour that are kept; the oldest hours go")

    k_default: Count = Field(10, description="items in an answer that names no k")
    k_max: Count = Field(500, description="most items in an answer")
    depth_max: Count = Field(1_000, description="deepest place that paging reaches: offset + k")
    batch_max: Count = Field(100, description="most users in one call of POST /recommend/batch")
    entries_max: Count = Field(
        500,
        description="most entries in each list of a call: items of a session, filters, exclusions, rules of a kind",
    )
    diversity_pool: Count = Field(
        200,
        description="candidates among which diversity and a seed choose; behind them the order is by score",
    )
    session_like_weight: Annotated[float, Field(gt=0, le=1_000)] = Field(
        2.0, description="what a liked item of a session weighs beside one that was only looked at"
    )
    session_dislike_weight: Annotated[float, Field(ge=0, le=1_000)] = Field(
        0.5, description="how much a disliked item speaks against what is like it; 0: it is only left out"
    )
    rules_file: Path | None = Field(
        None, description="standing rules, .json or .toml (docs/answers.md), read anew when it changes; unset: none"
    )
    rules_reload_s: Seconds = Field(1.0, description="how often the file of rules is looked at")
    body_max_bytes: Count = Field(1_048_576, description="longest body of a request")
    id_max_chars: Count = Field(512, description="longest user or item id")
    past_items: Annotated[int, Field(ge=0)] = Field(3, description="past items named in an explanation")
    item_cache: Count = Field(100_000, description="items whose metadata is kept decoded")
    answer_cache_mb: Annotated[int, Field(ge=0)] = Field(
        128, description="megabytes of whole answers kept while nothing they were made of changes; 0: none are kept"
    )
    gpu: Literal["auto", "off"] = Field("auto", description="search on a GPU when FAISS sees one")

    retrain_data: Path | None = Field(
        None, description="prepared dataset that retraining begins from (docs/retraining.md); unset: no retraining"
    )
    retrain_launcher: Literal["process", "kubernetes", "webhook"] = Field(
        "process", description="who trains: a process beside the service, a Kubernetes Job, an outside system"
    )
    retrain_arguments: str = Field(
        "",
        description="further arguments of `trainer retrain`, as in a shell: --config lightgcn --set training.epochs=9",
    )
    retrain_warm_start: bool = Field(
        False, description="begin with the parameters of the last published job that had the same arguments"
    )
    retrain_after_events: Count | None = Field(
        None, description="new events after which a retraining begins by itself; unset: never"
    )
    retrain_schedule: str | None = Field(
        None, description="cron expression, in UTC, of retrainings that begin by themselves; unset: never"
    )
    retrain_timeout_s: Seconds = Field(86_400, description="how long a training may take before it is ended")
    retrain_keep: Count = Field(3, description="ended jobs whose folders (data, checkpoints, log) are kept")
    retrain_lease_s: Seconds = Field(
        15.0, description="how long a replica that leads the retraining may be silent before another takes over"
    )
    retrain_poll_s: Seconds = Field(1.0, description="how often a training and the triggers are looked at")
    retrain_command: str | None = Field(
        None, description="process: command that stands for `python -m trainer`; unset: that, with our own Python"
    )
    retrain_niceness: Annotated[int, Field(ge=0, le=19)] = Field(
        10, description="process: how far the trainer stands back for others"
    )
    retrain_kubernetes_namespace: str = Field("default", description="kubernetes: where CronJob and Jobs are")
    retrain_kubernetes_cronjob: str | None = Field(
        None, description="kubernetes: the CronJob whose template a Job is made from"
    )
    retrain_kubernetes_config: Path | None = Field(
        None, description="kubernetes: a kubeconfig; unset: the service account of our pod"
    )
    retrain_webhook_url: str | None = Field(None, description="webhook: where trainings are asked for")
    retrain_webhook_secret: SecretStr | None = Field(None, description="webhook: what both directions are signed with")

    api_keys_file: Path | None = Field(
        None, description="file of API keys, read anew when it changes (docs/security.md); unset: no key is asked for"
    )
    api_keys_reload_s: Seconds = Field(1.0, description="how often the file of API keys is looked at")
    admin_open: bool = Field(False, description="without API keys: let anybody call what is for admins")
    rate_limit_per_s: PerSecond | None = Field(
        None, description="requests a second of one key (without keys: one client address); unset: no limit"
    )
    rate_limit_burst: Burst | None = Field(
        None, description="requests that may come at once after a pause; unset: a second's worth"
    )

    max_in_flight: Count = Field(512, description="requests waiting or being answered; more are refused at once (503)")
    request_timeout_s: Seconds = Field(10.0, description="longest that an answer may take (504); admin calls apart")
    read_timeout_s: Seconds = Field(10.0, description="longest that a request may take to arrive, an answer to leave")
    head_max_bytes: Count = Field(65_536, description="longest request line and headers together")
    trusted_proxies: Names = Field(
        (), description="addresses or networks, with commas, whose X-Forwarded-For is believed"
    )
    cors_origins: Names = Field((), description="origins, with commas, whose pages may call; none: no CORS")
    docs: bool = Field(True, description="serve /docs and /openapi.json")
    admin_host: str = Field("127.0.0.1", description="address to listen on for admins, with admin_port")
    admin_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="port on which alone admin calls are answered; unset: the one port",
    )
    metrics_on_admin: bool = Field(False, description="answer /metrics on admin_port only, without a key")
    audit_file: Path | None = Field(
        None, description="file to which each admin call is added as a line of JSON; unset: the log alone has it"
    )
    otlp_endpoint: str | None = Field(
        None, pattern="^https?://", description="OpenTelemetry collector, as http://collector:4318; unset: no traces"
    )
    otlp_share: float = Field(1.0, ge=0, le=1, description="share of requests traced, where the caller does not say")
    drain_delay_s: Annotated[float, Field(ge=0)] = Field(
        0.0, description="after SIGTERM, how long /readyz says 503 before connections are refused"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment; no files that nobody remembers."""
        return init_settings, env_settings

    @property
    def data_folder(self) -> Path:
        """Where the service keeps what is its own; may not exist yet."""
        return self.data or Path(self.registry) / "service"

    def open_registry(self) -> Registry:
        """The bundles, one object for the whole process; InputError where the URL cannot be understood."""
        return open_registry(absolute_place(self.registry), self.registry_copies or COPIES)

    @property
    def unknown_user_statuses(self) -> tuple[int, ...]:
        """What an answer for a user may be refused with, where nothing is known of the user."""
        return (404,) if self.unknown_user == "404" else ()

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, url: SecretStr | None) -> SecretStr | None:
        # The message never repeats the URL: it may hold a password.
        if url is not None:
            kind_of(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _places_beside_a_bucket(self) -> "Settings":
        for name in ("data", "registry_copies") if "://" in self.registry else ():
            if getattr(self, name) is None:
                raise ValueError(f"registry={self.registry} is no folder, so {PREFIX}{name.upper()} must name one")
        return self

    @model_validator(mode="after")
    def _metrics_somewhere(self) -> "Settings":
        if self.metrics_on_admin and self.admin_port is None:
            raise ValueError("metrics_on_admin needs an admin_port")
        return self

    @field_validator("retrain_schedule")
    @classmethod
    def _cron(cls, schedule: str | None) -> str | None:
        if schedule is not None and not croniter.is_valid(schedule):
            raise ValueError(f"expected a cron expression such as '0 3 * * *', found {schedule[:80]!r}")
        return schedule

    @field_validator("retrain_arguments", "retrain_command")
    @classmethod
    def _shell_words(cls, words: str | None) -> str | None:
        shlex.split(words or "")  # ValueError says what is not closed
        return words

    @model_validator(mode="after")
    def _launcher_complete(self) -> "Settings":
        needed = {
            "process": (),
            "kubernetes": ("retrain_kubernetes_cronjob",),
            "webhook": ("retrain_webhook_url", "retrain_webhook_secret"),
        }
        for name in needed[self.retrain_launcher]:
            if getattr(self, name) is None:
                raise ValueError(f"retrain_launcher={self.retrain_launcher} needs {PREFIX}{name.upper()}")
        return self

    @model_validator(mode="after")
    def _default_within_max(self) -> "Settings":
        if self.k_default > self.k_max:
            raise ValueError(f"k_default is {self.k_default}, above k_max {self.k_max}")
        if self.k_max > self.depth_max:
            raise ValueError(f"k_max is {self.k_max}, above depth_max {self.depth_max}")
        return self


def load_settings() -> Settings:
    """The settings that the environment asks for; InputError names the variable and what it should be."""
    _refuse_unknown(sorted(os.environ))
    try:
        return Settings()  # type: ignore[call-arg]  # the registry comes from the environment
    except ValidationError as error:
        raise InputError("; ".join(_sentence(e["loc"], e["msg"]) for e in error.errors())) from None


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    name = PREFIX + str(location[0]).upper() if location else "settings"
    return f"{name}: {message}"


def _refuse_unknown(names: list[str]) -> None:
    """An unknown RECO_ variable is a typo of a known one far more often than a harmless extra."""
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    for name in names:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0)
            raise InputError(f"{name}: unknown setting; the nearest known one is {near[0]}")
