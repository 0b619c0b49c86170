"""A row becomes available with its file, and not before; what fails says why and breaks nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from hosts import library
from hosts.images.build import BuiltImage
from hosts.images.catalogue import CatalogueImage, Checksum, load_catalogue
from hosts.images.errors import ImageError, ImageErrorCode
from hosts.models import Image, ImageStatus
from hosts.simulated import ensure_simulated_images, withdraw_simulated_images
from hosts.virt.fake_qcow2 import empty_qcow2
from tests.hosts.images.web_server import Site, serving
from tests.servers.test_isos import iso_file

GIB = 1024**3
V1, V2 = empty_qcow2(GIB, b"one"), empty_qcow2(2 * GIB, b"two")


@pytest.fixture(autouse=True)
def image_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "IMAGE_DIR", tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A maker's server with one image, and a catalogue that names it."""
    with serving(Site()) as site:
        publish(site, V1, '"v1"')
        remote = entry(
            "linux-1",
            url=f"{site.url}/linux.qcow2",
            checksum=Checksum(f"{site.url}/SHA256SUMS", "sha256", "linux.qcow2"),
        )
        catalogue = (remote, entry("tiny", build="tiny"))
        monkeypatch.setattr(library, "load_catalogue", lambda: catalogue)
        yield site


def entry(slug: str, **facts: object) -> CatalogueImage:
    common: dict[str, object] = {
        "name": slug.title(), "os_flavor": "linux", "os_version": "1", "architecture": "x86",
        "min_disk_gib": 1, "min_memory_mib": 64, "default_user": "root",
    }  # fmt: skip
    return CatalogueImage(slug=slug, **{**common, **facts})  # type: ignore[arg-type]


def publish(site: Site, content: bytes, etag: str) -> None:
    site.files["/linux.qcow2"] = content
    digest = hashlib.sha256(content).hexdigest()
    site.files["/SHA256SUMS"] = f"{digest}  linux.qcow2\n".encode()
    site.etag = etag


def builder(content: bytes, *, sha256: str = "") -> Callable[..., BuiltImage]:
    """A build that takes no time."""

    def build(workdir: Path, progress: Callable[[str, int], None]) -> BuiltImage:
        workdir.mkdir(parents=True, exist_ok=True)
        progress("lay out", 40)
        row = Image.objects.get(name="tiny")
        assert (row.progress, row.progress_step) == (40, "lay out")
        path = workdir / "tiny.qcow2"
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        digest = sha256 or hashlib.sha256(content).hexdigest()
        return BuiltImage("tiny", path, digest, "qcow2", len(content), GIB, "6.1", {})

    return build


def row(name: str = "linux-1") -> Image:
    return Image.objects.get(name=name)


# --- the catalogue ----------------------------------------------------------------


def test_every_entry_of_the_real_catalogue_becomes_a_row_once(db: None) -> None:
    for _ in range(2):
        images = library.sync_catalogue()
    assert [image.name for image in images] == [entry.slug for entry in load_catalogue()]
    assert Image.objects.count() == len(images)
    assert set(Image.objects.values_list("status", flat=True)) == {ImageStatus.UNAVAILABLE}


def test_facts_of_the_catalogue_win_and_state_stays(db: None, site: Site) -> None:
    library.fetch_image("linux-1")
    Image.objects.update(description="old", min_memory_mib=1)
    library.sync_catalogue()
    assert (row().description, row().min_memory_mib) == ("Linux-1", 64)
    assert row().status == ImageStatus.AVAILABLE


def test_what_was_interrupted_is_told(db: None, site: Site) -> None:
    library.sync_catalogue()
    Image.objects.filter(name="linux-1").update(status=ImageStatus.CREATING, progress=40)
    with library.only_one("linux-1"):
        library.sync_catalogue()
        assert row().status == ImageStatus.CREATING  # somebody is at it
    library.sync_catalogue()
    assert (row().status, row().progress) == (ImageStatus.UNAVAILABLE, 0)
    assert row().error == "It was interrupted. Start it again."


# --- fetching -----------------------------------------------------------------------


def test_a_fetched_image_is_available_under_its_checksum(db: None, site: Site) -> None:
    said: list[str] = []
    library.fetch_image("linux-1", say=said.append)
    image = row()
    assert image.status == ImageStatus.AVAILABLE
    assert image.sha256 == hashlib.sha256(V1).hexdigest()
    assert library.image_path(image).read_bytes() == V1
    assert image.file == f"files/{image.sha256}.qcow2"
    assert (image.size_bytes, image.virtual_size_bytes) == (len(V1), GIB)
    assert (image.progress, image.progress_step, image.error) == (100, "", "")
    assert said[0].startswith("linux-1: Downloading")


def test_the_same_version_is_not_fetched_twice(db: None, site: Site) -> None:
    library.fetch_image("linux-1")
    library.fetch_image("linux-1")
    assert [path for path, _ in site.asked].count("/linux.qcow2") == 1
    assert library.is_usable(row())


def test_a_new_version_replaces_the_old_one(db: None, site: Site, image_dir: Path) -> None:
    library.fetch_image("linux-1")
    old = library.image_path(row())
    publish(site, V2, '"v2"')
    library.fetch_image("linux-1")
    assert library.image_path(row()).read_bytes() == V2
    assert row().virtual_size_bytes == 2 * GIB
    assert old.read_bytes() == V1  # a copy to a host may be under way
    os.utime(old)
    library._prune()
    assert old.exists()


def test_old_files_go_when_nobody_can_be_reading_them(
    db: None, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.fetch_image("linux-1")
    old = library.image_path(row())
    publish(site, V2, '"v2"')
    monkeypatch.setattr(library, "YOUNG", 0.0)
    time.sleep(0.02)
    library.fetch_image("linux-1")
    assert not old.exists()
    assert library.is_usable(row())


def test_a_wrong_checksum_is_refused_and_told(db: None, site: Site) -> None:
    site.files["/SHA256SUMS"] = f"{'0' * 64}  linux.qcow2\n".encode()
    with pytest.raises(ImageError) as caught:
        library.fetch_image("linux-1")
    assert caught.value.code is ImageErrorCode.CHECKSUM_MISMATCH
    assert (row().status, row().sha256, row().file) == (ImageStatus.UNAVAILABLE, "", "")
    assert "does not have the sha256" in row().error


def test_a_failed_update_leaves_the_old_image_for_sale(db: None, site: Site) -> None:
    library.fetch_image("linux-1")
    publish(site, V2, '"v2"')
    site.files["/SHA256SUMS"] = f"{'0' * 64}  linux.qcow2\n".encode()
    with pytest.raises(ImageError):
        library.fetch_image("linux-1")
    image = row()
    assert image.status == ImageStatus.AVAILABLE
    assert library.image_path(image).read_bytes() == V1
    assert "does not have the sha256" in image.error


def test_a_file_that_is_no_image_is_refused(db: None, site: Site) -> None:
    backed = bytearray(V1)
    backed[8:20] = (104).to_bytes(8, "big") + (11).to_bytes(4, "big")
    backed[104:115] = b"/etc/passwd"
    publish(site, bytes(backed), '"evil"')
    with pytest.raises(ImageError):
        library.fetch_image("linux-1")
    assert row().status == ImageStatus.UNAVAILABLE
    assert not list((Path(settings.IMAGE_DIR) / "files").glob("*"))


def test_a_lost_file_is_noticed_and_made_again(db: None, site: Site) -> None:
    library.provide_image("linux-1")
    library.image_path(row()).unlink()
    assert not library.is_usable(row())
    library.provide_image("linux-1")
    assert library.is_usable(row())


# --- building -----------------------------------------------------------------------


def test_a_built_image_is_available(db: None, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "BUILDERS", {"tiny": builder(V1)})
    assert library.unbuilt() == ["tiny"]
    library.provide_image("tiny")
    assert library.image_path(row("tiny")).read_bytes() == V1
    assert library.unbuilt() == []


def test_a_failed_build_is_told(db: None, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(workdir: Path, progress: object) -> BuiltImage:
        raise ImageError(ImageErrorCode.MISSING_PACKAGE, "apt-get install mmdebstrap")

    monkeypatch.setattr(library, "BUILDERS", {"tiny": fail})
    with pytest.raises(ImageError):
        library.build_image("tiny")
    assert row("tiny").status == ImageStatus.UNAVAILABLE
    assert "apt-get install mmdebstrap" in row("tiny").error


def test_a_build_that_is_not_what_it_says_is_refused(
    db: None, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "BUILDERS", {"tiny": builder(V1, sha256="0" * 64)})
    with pytest.raises(ImageError, match="not the file that was made"):
        library.build_image("tiny")
    assert row("tiny").status == ImageStatus.UNAVAILABLE


def test_a_killed_maker_frees_its_lock(image_dir: Path) -> None:
    library.image_dir()
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); time.sleep(60)"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", code, str(image_dir / ".tiny.lock")], stdout=subprocess.PIPE
    )
    assert maker.stdout is not None
    maker.stdout.readline()
    with pytest.raises(BlockingIOError), library.only_one("tiny", wait=False):
        pass
    maker.kill()
    maker.wait()
    with library.only_one("tiny", wait=False):
        pass


# --- commands and simulated images ----------------------------------------------------


def test_commands_go_on_after_a_failure_and_say_so(db: None, site: Site) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match="Not fetched: nothing"):
        call_command("image_fetch", "nothing", "linux-1", stdout=out, stderr=out)
    assert "The catalogue has no image nothing" in out.getvalue()
    assert f"linux-1: available, SHA-256 {row().sha256}" in out.getvalue()


def test_image_build_builds_what_is_missing(
    db: None, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "BUILDERS", {"tiny": builder(V1)})
    for expected in ("tiny: lay out (40 %)", ""):
        out = StringIO()
        call_command("image_build", "--missing", stdout=out)
        assert out.getvalue().startswith(expected)
        assert bool(out.getvalue()) is bool(expected)
    err = StringIO()
    with pytest.raises(CommandError, match="Not built: linux-1"):
        call_command("image_build", "linux-1", stderr=err)
    assert "linux-1 is not built here" in err.getvalue()


def test_simulated_images_never_reach_a_real_host(db: None, site: Site) -> None:
    ensure_simulated_images()
    assert library.is_usable(row("tiny"))
    library.sync_catalogue()
    assert "(simulated)" in row("tiny").description
    withdraw_simulated_images()
    assert row("tiny").status == ImageStatus.UNAVAILABLE
    library.sync_catalogue()
    assert row("tiny").description == "Tiny"


def test_simulated_images_do_not_replace_real_ones(
    db: None, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "BUILDERS", {"tiny": builder(V1)})
    library.provide_image("tiny")
    ensure_simulated_images()
    assert library.image_path(row("tiny")).read_bytes() == V1


def test_an_iso_is_fetched_by_its_sha256(site: Site, db: None) -> None:
    content = iso_file()
    site.files["/installer.iso"] = content
    url, sha256 = f"{site.url}/installer.iso", hashlib.sha256(content).hexdigest()
    call_command("iso_fetch", "installer", url, sha256, description="Installer", stdout=StringIO())
    iso = Image.objects.get(name="installer")
    assert (iso.type, iso.status, iso.format) == ("iso", ImageStatus.AVAILABLE, "raw")
    assert (iso.description, iso.sha256) == ("Installer", sha256)
    assert library.image_path(iso).read_bytes() == content


@pytest.mark.parametrize(
    ("content", "sha256"),
    [(iso_file(), "0" * 64), (iso_file(), "abc"), (b"\0" * 40960, ""), (iso_file() + b"x", "")],
)
def test_what_is_no_iso_is_not_offered(site: Site, db: None, content: bytes, sha256: str) -> None:
    site.files["/installer.iso"] = content
    sha256 = sha256 or hashlib.sha256(content).hexdigest()
    with pytest.raises(ImageError):
        library.fetch_iso("installer", f"{site.url}/installer.iso", sha256)
    assert not Image.objects.filter(status=ImageStatus.AVAILABLE).exists()
