"""Builds the application: routes, middleware, one error handler, and the lifespan that opens the service."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import faiss
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from threadpoolctl import threadpool_limits

from index.errors import InputError
from index.extras import missing_package
from service.bundles.open_published import OpenedBundle, open_published
from service.errors import ServiceError, describe, error_body, request_id_of
from service.http.console_page import console_paths, console_routes, read_console
from service.http.docs_page import docs_routes
from service.http.first_page import ROOT, first_page
from service.http.middleware import ObservabilityMiddleware
from service.http.openapi import DocumentedApp
from service.http.route import DispatchMiddleware
from service.http.routes import (
    bundle_comparison,
    bundles,
    events,
    experiment_report,
    experiments,
    health,
    images,
    item_changes,
    item_list,
    item_map,
    items,
    popular,
    recommend,
    retrain,
    similar,
    user_list,
    users,
)
from service.http.security.admission import AdmissionMiddleware
from service.http.security.assembly import Security
from service.http.start_requests import start_requests
from service.items.image_urls import picture_origins
from service.settings import Settings
from service.state import STATE, open_service
from service.telemetry.metrics import Metrics
from service.workers.worker import Worker

if TYPE_CHECKING:
    from service.telemetry.tracing import Traces

TITLE = "AnchorRec"
DESCRIPTION = "Recommendations that explain themselves: every score splits into shares by part and by past item."
# Incremented when a response loses a field or a request needs a new one.
API_VERSION = "1"
CORS: Mapping[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
    "allow_headers": ("Authorization", "X-API-Key", "X-Request-Id", "Content-Type", "traceparent"),
    "expose_headers": ("X-Request-Id", "Server-Timing", "Retry-After", "RateLimit", "RateLimit-Policy"),
}
HANDLED = (ServiceError, HTTPException, RequestValidationError)


def create_app(settings: Settings, *, opened: OpenedBundle | None = None, worker: Worker | None = None) -> FastAPI:
    """The application; it serves `opened`, or opens the published bundle when it starts, alone or as a worker."""
    metrics = Metrics()
    console = read_console() if settings.shows_console else None
    pages = console_paths(console) if settings.shows_console else frozenset[str]()
    security = Security(settings, metrics, worker, pages | {ROOT})
    traces = _traces(settings)
    routes = _routes(settings)
    for route in routes:
        security.protect(route)
    app = DocumentedApp(
        title=TITLE,
        version=API_VERSION,
        keys=settings.api_keys_file is not None,
        description=DESCRIPTION,
        lifespan=_lifespan(
            settings, metrics, security, traces, routes, opened=[] if opened is None else [opened], worker=worker
        ),
        openapi_url=None,  # FastAPI's own page loads scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # a path with one more slash is another path
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours cost a tenth, and time our stages
        routes=[*routes],
    )
    if settings.docs:
        app.router.routes.extend(docs_routes(TITLE, app.openapi))
    if settings.shows_console:
        hosts = picture_origins(settings.images, settings.image_hosts)
        app.router.routes.extend(security.on_admin_port(page) for page in console_routes(console, hosts))
    app.router.routes.append(
        first_page(console=settings.shows_console, docs=settings.docs, admin_port=settings.admin_port)
    )
    # The last one added is the outermost.
    app.add_middleware(DispatchMiddleware, routes=routes)
    app.add_middleware(AdmissionMiddleware, admission=security.admission)
    app.add_middleware(ObservabilityMiddleware, metrics=metrics, traces=traces)
    if settings.cors_origins:  # around all others, so that a page can read errors too
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, **CORS)
    for error_class in HANDLED:
        app.add_exception_handler(error_class, partial(_error_response, metrics))
    return app


def _routes(settings: Settings) -> list[APIRoute]:
    return [
        *recommend.routes(settings),
        *similar.routes(settings),
        *items.routes(settings),
        *images.routes(settings),
        *item_list.routes(settings),
        *item_map.routes(settings),
        *item_changes.routes(settings),
        *popular.routes(settings),
        *user_list.routes(settings),
        *users.routes(settings),
        *events.routes(settings),
        *retrain.routes(),
        *bundles.routes(),
        *bundle_comparison.routes(),
        *experiments.routes(),
        *experiment_report.routes(),
        *health.routes(),
    ]


def _traces(settings: Settings) -> "Traces | None":
    """The tracer, where a collector is configured; InputError where its library is not installed."""
    if settings.otlp_endpoint is None:
        return None
    try:
        from service.telemetry.tracing import open_traces  # noqa: PLC0415 - comes with an extra
    except ImportError as error:
        raise InputError(missing_package(error, "RECO_OTLP_ENDPOINT") or str(error)) from error
    return open_traces(settings.otlp_endpoint, share=settings.otlp_share, wall_ns=time.time_ns, rng=random.Random())


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]


def _lifespan(
    settings: Settings,
    metrics: Metrics,
    security: Security,
    traces: "Traces | None",
    routes: Sequence[APIRoute],
    *,
    opened: list[OpenedBundle],
    worker: Worker | None,
) -> Lifespan:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        # Requests run in parallel already: a search on several cores would only compete with others.
        faiss.omp_set_num_threads(1)
        threadpool_limits(1, user_api="blas")
        # Popped, as a reference from here would keep the first bundle open after a swap.
        first = opened.pop() if opened else open_published(settings)
        opening = open_service(settings, metrics, first, partial(start_requests, routes), worker)
        del first
        try:
            async with opening as service, security.running():
                yield {STATE: service}
        finally:
            if traces is not None:
                await asyncio.to_thread(traces.close)

    return lifespan


async def _error_response(metrics: Metrics, request: Request, error: Exception) -> Response:
    """The handler of every error that reaches the application."""
    status, code, detail = describe(error)
    metrics.errors.labels(code).inc()
    body = error_body(code, detail, request_id_of(request.scope), getattr(error, "more", None))
    return Response(body, status, getattr(error, "headers", None), "application/json")
