"""What `restricted` refuses, one wrong field at a time."""

from copy import deepcopy
from typing import Any

import pytest

from deploy.pod_security import violations

GOOD = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "main",
            "ports": [{"containerPort": 8000}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 8000}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def with_fields(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The changes laid over a copy of the spec; None takes a field away."""
    made = deepcopy(spec)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(made.get(name), dict):
            made[name] = with_fields(made[name], value)
        elif value is None:
            del made[name]
        else:
            made[name] = value
    return made


def refused(pod: dict[str, Any] | None = None, container: dict[str, Any] | None = None) -> list[str]:
    spec = with_fields(GOOD, pod or {})
    spec["containers"] = [with_fields(one, container or {}) for one in spec["containers"]]
    return violations({"spec": spec})


def test_a_pod_that_says_what_it_must_is_admitted() -> None:
    assert refused() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hostNetwork": True}, "hostNetwork is set"),
        ({"hostPID": True}, "hostPID is set"),
        ({"hostIPC": True}, "hostIPC is set"),
        ({"securityContext": {"runAsNonRoot": False}}, "main: runAsNonRoot is not true"),
        ({"securityContext": {"runAsUser": 0}}, "runAsUser is 0"),
        ({"securityContext": {"seccompProfile": None}}, "main: seccompProfile is none of RuntimeDefault, Localhost"),
        ({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}, "sysctls is set"),
        ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "a volume of type hostPath"),
    ],
)
def test_what_is_wrong_with_a_pod_is_said(changes: dict[str, Any], said: str) -> None:
    assert refused(pod=changes) == [said]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"securityContext": {"privileged": True}}, "privileged is set"),
        ({"securityContext": {"allowPrivilegeEscalation": None}}, "allowPrivilegeEscalation is not false"),
        ({"securityContext": {"capabilities": {"drop": ["KILL"]}}}, "capabilities do not drop ALL"),
        ({"securityContext": {"capabilities": {"add": ["SYS_TIME"]}}}, "capability SYS_TIME"),
        ({"securityContext": {"runAsUser": 0}}, "runAsUser is 0"),
        ({"securityContext": {"runAsNonRoot": False}}, "runAsNonRoot is not true"),
        ({"securityContext": {"procMount": "Unmasked"}}, "procMount is set"),
        ({"ports": [{"containerPort": 80, "hostPort": 80}]}, "hostPort 80"),
        ({"readinessProbe": {"httpGet": {"host": "10.0.0.1"}}}, "readinessProbe names a host"),
        ({"lifecycle": {"preStop": {"tcpSocket": {"host": "db", "port": 1}}}}, "preStop names a host"),
    ],
)
def test_what_is_wrong_with_a_container_is_said_of_every_kind(changes: dict[str, Any], said: str) -> None:
    assert refused(container=changes) == [f"main: {said}"]
    bad = with_fields(GOOD["containers"][0], changes | {"name": "first"})  # type: ignore[index,arg-type]
    assert refused(pod={"initContainers": [bad]}) == [f"first: {said}"]


def test_a_container_may_say_for_itself_what_its_pod_does_not() -> None:
    own = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}}
    assert refused(pod={"securityContext": {"runAsNonRoot": False, "seccompProfile": None}}, container=own) == []
