"""What the Pod Security Standard `restricted` (as of Kubernetes 1.34) refuses in a pod.

The API server enforces it where the namespace says so; this tells beforehand. It is stricter where we need nothing:
options of SELinux, AppArmor, Windows, sysctls and /proc may not be set at all.
"""

from collections.abc import Iterator

from deploy.manifests import Manifest

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
NOT_IN_A_POD = ("hostNetwork", "hostPID", "hostIPC")
NOT_IN_A_CONTEXT = ("privileged", "procMount", "sysctls", "seLinuxOptions", "appArmorProfile", "windowsOptions")
ALLOWED = "NET_BIND_SERVICE"
SECCOMP = ("RuntimeDefault", "Localhost")
KINDS = ("initContainers", "containers", "ephemeralContainers")
ASKING = ("startupProbe", "readinessProbe", "livenessProbe", "postStart", "preStop")


def violations(pod: Manifest) -> list[str]:
    """What would be refused in a pod template, in words; nothing where it would be admitted."""
    spec: Manifest = pod["spec"]
    found = list(_of_pod(spec))
    for container in (one for kind in KINDS for one in spec.get(kind, ())):
        found += [f"{container['name']}: {said}" for said in _of_container(spec, container)]
    return found


def _of_pod(spec: Manifest) -> Iterator[str]:
    yield from _set(spec, NOT_IN_A_POD)
    yield from _set(spec.get("securityContext", {}), NOT_IN_A_CONTEXT)
    if spec.get("securityContext", {}).get("runAsUser") == 0:
        yield "runAsUser is 0"
    for volume in spec.get("volumes", ()):
        yield from (f"a volume of type {kind}" for kind in volume.keys() - VOLUMES - {"name"})


def _of_container(spec: Manifest, container: Manifest) -> Iterator[str]:
    own: Manifest = container.get("securityContext", {})
    both = {**spec.get("securityContext", {}), **own}  # what a container does not say, its pod says for it
    yield from _set(own, NOT_IN_A_CONTEXT)
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if own.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if both.get("seccompProfile", {}).get("type") not in SECCOMP:
        yield f"seccompProfile is none of {', '.join(SECCOMP)}"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if "ALL" not in own.get("capabilities", {}).get("drop", ()):
        yield "capabilities do not drop ALL"
    yield from (
        f"capability {name}" for name in own.get("capabilities", {}).get("add", ()) if name != "NET_BIND_SERVICE"
    )
    yield from (f"hostPort {port['hostPort']}" for port in container.get("ports", ()) if port.get("hostPort"))
    yield from _hosts(container)


def _hosts(container: Manifest) -> Iterator[str]:
    """A probe or hook with a host of its own would have the kubelet ask anybody."""
    asking = {**container, **container.get("lifecycle", {})}
    for name in ASKING:
        for how in ("httpGet", "tcpSocket"):
            if asking.get(name, {}).get(how, {}).get("host"):
                yield f"{name} names a host"


def _set(fields: Manifest, names: tuple[str, ...]) -> Iterator[str]:
    """Those of the names that are given a value."""
    yield from (f"{name} is set" for name in names if fields.get(name))
