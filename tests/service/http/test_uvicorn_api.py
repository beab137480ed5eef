"""What service/http relies on in uvicorn's private API: an upgrade that changes it fails here, not in production."""

import inspect

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

OVERRIDDEN = {  # methods that HttpConnection and Server override, with the parameters that they take
    (HttpToolsProtocol, "connection_made"): ["self", "transport"],
    (HttpToolsProtocol, "data_received"): ["self", "data"],
    (HttpToolsProtocol, "eof_received"): ["self"],
    (HttpToolsProtocol, "connection_lost"): ["self", "exc"],
    (HttpToolsProtocol, "on_message_begin"): ["self"],
    (HttpToolsProtocol, "on_body"): ["self", "body"],
    (HttpToolsProtocol, "on_headers_complete"): ["self"],
    (HttpToolsProtocol, "on_message_complete"): ["self"],
    (HttpToolsProtocol, "_start_asgi_task"): ["self", "cycle", "app"],
    (HttpToolsProtocol, "on_response_complete"): ["self"],
    (HttpToolsProtocol, "send_400_response"): ["self", "msg"],
    (uvicorn.Server, "run"): ["self", "sockets"],
    (uvicorn.Server, "startup"): ["self", "sockets"],
    (uvicorn.Server, "shutdown"): ["self", "sockets"],
    (RequestResponseCycle, "run_asgi"): ["self", "app"],
    (FlowControl, "drain"): ["self"],
}
SET_BY_UVICORN = {  # attributes that they read
    HttpToolsProtocol: (
        "loop",
        "tasks",
        "headers",
        "url",
        "cycle",
        "transport",
        "parser",
        "pipeline",
        "flow",
        "server",
        "server_state",
    ),
    RequestResponseCycle: ("scope", "response_complete", "more_body", "keep_alive", "disconnected", "message_event"),
    uvicorn.Server: ("lifespan", "force_exit"),
}


@pytest.mark.parametrize(("owner", "name"), OVERRIDDEN)
def test_uvicorn_has_the_methods_that_we_override(owner: type, name: str) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == OVERRIDDEN[owner, name]


@pytest.mark.parametrize("owner", SET_BY_UVICORN)
def test_uvicorn_sets_the_attributes_that_we_read(owner: type) -> None:
    source = inspect.getsource(owner)
    missing = [name for name in SET_BY_UVICORN[owner] if f"self.{name}" not in source]
    assert missing == []


def test_a_request_is_started_by_the_method_that_counts_it() -> None:
    callers = inspect.getsource(HttpToolsProtocol.on_headers_complete) + inspect.getsource(
        HttpToolsProtocol.on_response_complete
    )
    assert callers.count("self._start_asgi_task(") == 2
