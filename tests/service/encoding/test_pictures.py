"""Which files and URLs a reference to a picture may mean."""

import os

import pytest
from picture_hosts import picture_host

from service.encoding.picture_error import PictureError
from service.encoding.pictures import read_below


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "images"
    (folder / "shoes").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"picture")
    (folder / "shoes" / "b.png").write_bytes(b"below")
    (folder / "out.png").symlink_to(tmp_path / "secret")
    (folder / "in.png").symlink_to(folder / "a.png")
    os.mkfifo(folder / "pipe")
    return folder


def test_a_file_below_the_folder_is_read(folder):
    names = ("a.png", "shoes/b.png", "in.png")
    assert [read_below(folder, name, 100) for name in names] == [b"picture", b"below", b"picture"]


@pytest.mark.parametrize(
    "name",
    [
        "../secret", "shoes/../../secret", "/etc/passwd", "out.png", ".", "", "shoes", "pipe", "a\0b", "x" * 5_000,
        "a.png/b",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_folder_or_to_what_is_no_file(folder, name):
    with pytest.raises(PictureError) as error:
        read_below(folder, name, 100)
    assert "secret" not in str(error.value).replace(name, "")


def test_a_file_that_is_too_large_is_refused(folder):
    with pytest.raises(PictureError, match=r"more than 6 bytes \(RECO_IMAGE_MAX_BYTES\)"):
        read_below(folder, "a.png", 6)


def test_without_a_folder_a_file_name_is_refused_with_the_setting(run):
    async def scene(world):
        await world.of(image="red.png")
        return world.encoder.problems["new"].reason

    assert "RECO_IMAGES names no folder" in run(scene, pictures=None)


def test_a_picture_at_a_url_is_fetched_once_also_after_a_restart(run, images):
    with picture_host() as host:
        host.files["/red one.png".replace(" ", "%20")] = (images / "red.png").read_bytes()
        settings = {"pictures": f"{host.url}/", "image_hosts": (host.url,)}

        async def scene(world):
            found = [await world.of(image="red one.png"), await world.of(image=f"{host.url}/red%20one.png")]
            assert world.encoder.problems == {}
            return found

        assert run(scene, **settings) == run(scene, **settings) == [{"image": [1, 0, 0]}] * 2
        assert host.asked == ["/red%20one.png"]


def test_a_url_of_a_host_that_is_not_listed_leaves_the_item_without_image_features(run):
    async def scene(world):
        found = await world.of(text="red", image="http://169.254.169.254/latest/meta-data")
        return found, world.encoder.problems["new"].reason, world.encoder.due()

    found, reason, due = run(scene)
    assert found == {"text": [1, 0, 0]}
    assert "http://169.254.169.254:80, which is not among the hosts" in reason
    assert due == []
