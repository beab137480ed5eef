"""The images and the manifests agree on users and paths."""

import re

import pytest
from built_manifests import containers, of_kind, overlay, pods

from deploy.manifests import FOLDER, OVERLAYS

DOCKERFILE = (FOLDER.parent / "Dockerfile").read_text(encoding="utf-8")
OURS = ("anchorrec-service", "anchorrec-trainer")


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_of_our_images_run_as_the_user_that_these_have(name: str) -> None:
    (user,) = set(re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.M))
    for _, template in pods(overlay(name)):
        if any(image in container["image"] for container in containers(template) for image in OURS):
            context = template["spec"]["securityContext"]
            assert {str(context[each]) for each in ("runAsUser", "runAsGroup", "fsGroup")} == {user}


@pytest.mark.parametrize("name", OVERLAYS)
def test_volumes_are_mounted_where_the_images_have_folders_and_paths_are_the_same_without_them(name: str) -> None:
    (made,) = re.findall(r"install -d \S+ \d+ \S+ \d+ (.+)", DOCKERFILE)
    mounted = {
        mount["mountPath"]
        for _, template in pods(overlay(name))
        for container in containers(template)
        for mount in container["volumeMounts"]
    }
    assert set(made.split()) <= mounted
    declared = dict(re.findall(r"\b(RECO_[A-Z]+)=(\S+)", DOCKERFILE))
    (settings,) = (each["data"] for each in of_kind(overlay(name), "ConfigMap") if "RECO_PORT" in each["data"])
    assert declared
    # Of a bucket, copies lie where a volume would have the bundles.
    meant = settings | {"RECO_REGISTRY": settings.get("RECO_REGISTRY_COPIES", settings["RECO_REGISTRY"])}
    assert {variable: meant[variable] for variable in declared} == declared
