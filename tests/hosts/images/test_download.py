"""Downloads: whole and right, or not there at all; and never fetched twice for nothing."""

from __future__ import annotations

import hashlib
import json
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.images import download
from hosts.images.catalogue import Checksum
from hosts.images.download import Downloaded, Limits, download_image
from hosts.images.errors import ImageError, ImageErrorCode
from tests.hosts.images.web_server import Site, serving

IMAGE = bytes(range(256)) * 8192  # 2 MiB
SHA256 = hashlib.sha256(IMAGE).hexdigest()
QUICK = Limits(wait=2.0, backoff=0.01, attempts=3, slow_window=0.5, slowest=1000)


@pytest.fixture
def site() -> Iterator[Site]:
    sums = f"{'0' * 64}  other.qcow2\n{SHA256} *image.qcow2\n".encode()
    with serving(Site(files={"/image.qcow2": IMAGE, "/SHA256SUMS": sums})) as running:
        yield running


def fetch(site: Site, target: Path, path: str = "/image.qcow2", **options: object) -> Downloaded:
    checksum = Checksum(f"{site.url}/SHA256SUMS", "sha256", r"image\.qcow2")
    return download_image(site.url + path, checksum, target, limits=QUICK, **options)  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    """What lies in the folder, without lock files."""
    return {entry.name for entry in folder.iterdir() if not entry.name.endswith(".lock")}


def image_requests(site: Site) -> list[str | None]:
    return [wanted for path, wanted in site.asked if path == "/image.qcow2"]


def refused(site: Site, target: Path, **options: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        fetch(site, target, **options)  # type: ignore[arg-type]
    return caught.value


def test_a_whole_download(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "store" / "image.qcow2"
    got = fetch(site, target, progress=lambda done, total: seen.append((done, total)))
    assert got == Downloaded(target, SHA256, len(IMAGE))
    assert target.read_bytes() == IMAGE
    assert names(target.parent) == {"image.qcow2"}
    assert seen[0] == (0, len(IMAGE))
    assert seen[-1] == (len(IMAGE), len(IMAGE))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_is_there_already_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "image.qcow2"
    fetch(site, target)
    assert fetch(site, target).sha256 == SHA256
    assert len(image_requests(site)) == 1


def test_an_older_version_is_replaced(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "image.qcow2"
    target.write_bytes(b"last month's image")
    fetch(site, target)
    assert target.read_bytes() == IMAGE


def test_a_cut_is_resumed_where_it_was(site: Site, tmp_path: Path) -> None:
    site.cut_after = [700_000, 500_000]
    fetch(site, tmp_path / "image.qcow2")
    assert image_requests(site) == [None, "bytes=700000-", "bytes=1200000-"]
    assert (tmp_path / "image.qcow2").read_bytes() == IMAGE


def test_a_part_survives_the_process_and_is_resumed(site: Site, tmp_path: Path) -> None:
    site.cut_after = [1_000_000, 0, 0, 0, 0]
    error = refused(site, tmp_path / "image.qcow2")
    assert error.code == ImageErrorCode.UNREACHABLE
    assert error.retryable
    assert names(tmp_path) == {"image.qcow2.part", "image.qcow2.part.json"}
    site.cut_after = []
    site.asked.clear()
    fetch(site, tmp_path / "image.qcow2")
    assert image_requests(site) == ["bytes=1000000-"]
    assert names(tmp_path) == {"image.qcow2"}


def test_a_new_version_on_the_server_begins_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "image.qcow2.part").write_bytes(b"x" * 1000)
    notes = {"url": f"{site.url}/image.qcow2", "validator": '"v0"'}
    (tmp_path / "image.qcow2.part.json").write_text(json.dumps(notes))
    fetch(site, tmp_path / "image.qcow2")
    assert image_requests(site) == ["bytes=1000-"]
    assert (tmp_path / "image.qcow2").read_bytes() == IMAGE


def test_a_part_of_another_url_is_not_used(site: Site, tmp_path: Path) -> None:
    (tmp_path / "image.qcow2.part").write_bytes(b"x" * 1000)
    notes = {"url": "http://elsewhere.example/image.qcow2", "validator": '"v1"'}
    (tmp_path / "image.qcow2.part.json").write_text(json.dumps(notes))
    fetch(site, tmp_path / "image.qcow2")
    assert image_requests(site) == [None]


def test_a_server_that_ignores_ranges(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cut_after = [700_000]
    fetch(site, tmp_path / "image.qcow2")
    assert image_requests(site) == [None, "bytes=700000-"]
    assert (tmp_path / "image.qcow2").read_bytes() == IMAGE


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_name_of_the_version_nothing_is_resumed(
    site: Site, tmp_path: Path, etag: str | None
) -> None:
    site.etag = etag
    site.cut_after = [700_000]
    fetch(site, tmp_path / "image.qcow2")
    assert image_requests(site) == [None, None]
    assert (tmp_path / "image.qcow2").read_bytes() == IMAGE


def test_a_part_that_is_already_whole(site: Site, tmp_path: Path) -> None:
    (tmp_path / "image.qcow2.part").write_bytes(IMAGE)
    notes = {"url": f"{site.url}/image.qcow2", "validator": '"v1"'}
    (tmp_path / "image.qcow2.part.json").write_text(json.dumps(notes))
    assert fetch(site, tmp_path / "image.qcow2").sha256 == SHA256
    assert names(tmp_path) == {"image.qcow2"}


def test_a_wrong_checksum_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.files["/SHA256SUMS"] = f"{'1' * 64}  image.qcow2\n".encode()
    error = refused(site, tmp_path / "image.qcow2")
    assert error.code == ImageErrorCode.CHECKSUM_MISMATCH
    assert not error.retryable
    assert names(tmp_path) == set()


def test_a_flipped_bit_is_found(site: Site, tmp_path: Path) -> None:
    site.files["/image.qcow2"] = IMAGE[:-1] + b"\x00"
    assert refused(site, tmp_path / "image.qcow2").code == ImageErrorCode.CHECKSUM_MISMATCH


def test_a_wrong_checksum_keeps_the_older_good_file(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "image.qcow2"
    target.write_bytes(b"last month's image")
    site.files["/SHA256SUMS"] = f"{'1' * 64}  image.qcow2\n".encode()
    refused(site, target)
    assert target.read_bytes() == b"last month's image"


def test_404_is_final(site: Site, tmp_path: Path) -> None:
    del site.files["/image.qcow2"]
    error = refused(site, tmp_path / "image.qcow2")
    assert error.code == ImageErrorCode.HTTP_ERROR
    assert "404" in error.message
    assert len(image_requests(site)) == 1
    assert names(tmp_path) == set()


def test_a_passing_503_is_tried_again(site: Site, tmp_path: Path) -> None:
    site.statuses = {"/image.qcow2": [503, 429], "/SHA256SUMS": [502]}
    assert fetch(site, tmp_path / "image.qcow2").sha256 == SHA256


def test_a_lasting_503_ends(site: Site, tmp_path: Path) -> None:
    site.statuses = {"/image.qcow2": [503] * 10}
    assert refused(site, tmp_path / "image.qcow2").code == ImageErrorCode.HTTP_ERROR
    assert len(image_requests(site)) == QUICK.attempts


def test_nobody_there(tmp_path: Path) -> None:
    with serving(Site()) as gone:
        pass
    error = refused(gone, tmp_path / "image.qcow2")
    assert error.code == ImageErrorCode.UNREACHABLE


def test_a_slow_drip_is_given_up(site: Site, tmp_path: Path) -> None:
    site.drip = 0.05
    began = time.monotonic()
    error = refused(site, tmp_path / "image.qcow2")
    assert error.code == ImageErrorCode.TIMEOUT
    assert time.monotonic() - began < 5


def test_a_server_that_falls_silent(site: Site, tmp_path: Path) -> None:
    site.drip = 30
    began = time.monotonic()
    assert refused(site, tmp_path / "image.qcow2").code == ImageErrorCode.TIMEOUT
    assert time.monotonic() - began < QUICK.attempts * QUICK.wait + 5


@pytest.mark.parametrize("with_length", [True, False])
def test_too_large(site: Site, tmp_path: Path, with_length: bool) -> None:
    site.with_length = with_length
    checksum = Checksum(f"{site.url}/SHA256SUMS", "sha256", r"image\.qcow2")
    with pytest.raises(ImageError) as caught:
        download_image(
            f"{site.url}/image.qcow2",
            checksum,
            tmp_path / "image.qcow2",
            limits=Limits(max_bytes=1_000_000, wait=2),
        )
    assert caught.value.code == ImageErrorCode.TOO_LARGE
    assert names(tmp_path) == set()


def test_a_full_disk_while_writing(site: Site, tmp_path: Path) -> None:
    """The kernel refuses to let the file grow, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        error = refused(site, tmp_path / "image.qcow2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.code == ImageErrorCode.DISK_FULL
    assert str(tmp_path) in error.message
    assert names(tmp_path) == set()


def test_a_full_disk_is_seen_before_the_first_byte(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SPARE_BYTES", 1 << 60)
    assert refused(site, tmp_path / "image.qcow2").code == ImageErrorCode.DISK_FULL
    assert names(tmp_path) == set()


def test_a_folder_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    error = refused(site, tmp_path / "file" / "image.qcow2")
    assert error.code == ImageErrorCode.STORAGE


def test_cancelled(site: Site, tmp_path: Path) -> None:
    error = refused(site, tmp_path / "image.qcow2", cancelled=lambda: True)
    assert error.code == ImageErrorCode.CANCELLED


def test_redirects_are_followed_to_the_web_only(site: Site, tmp_path: Path) -> None:
    site.redirects = {"/latest": f"{site.url}/image.qcow2", "/passwd": "file:///etc/passwd"}
    assert fetch(site, tmp_path / "a", path="/latest").sha256 == SHA256
    error = refused(site, tmp_path / "b", path="/passwd")
    assert error.code in (ImageErrorCode.BAD_URL, ImageErrorCode.HTTP_ERROR)
    assert not (tmp_path / "b").exists()


def test_a_circle_of_redirects_ends(site: Site, tmp_path: Path) -> None:
    site.redirects = {"/a": f"{site.url}/b", "/b": f"{site.url}/a"}
    assert refused(site, tmp_path / "x", path="/a").code == ImageErrorCode.HTTP_ERROR


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/x",
        "/etc/passwd",
        "http://",
        "http://a:b@example.org/x",
        "http://[::1/x",
        "http://example.org:port/x",
    ],
)
def test_only_the_web(tmp_path: Path, url: str) -> None:
    with pytest.raises(ImageError) as caught:
        download_image(url, Checksum(url, "sha256", "x"), tmp_path / "x")
    assert caught.value.code == ImageErrorCode.BAD_URL


def test_two_at_once_fetch_once(site: Site, tmp_path: Path) -> None:
    results: list[Downloaded] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(site, tmp_path / "image.qcow2")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [result.sha256 for result in results] == [SHA256] * 3
    assert len(image_requests(site)) == 1
