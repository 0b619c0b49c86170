"""Private images: what becomes of a volume, and what is left when it does not get there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import pytest
from django.conf import settings

from hosts.errors import LibraryFull
from hosts.images.errors import ImageError
from hosts.private_images import forget_file, keep_volume, new_file
from hosts.virt.fake import FakeDriver
from hosts.virt.fake_qcow2 import empty_qcow2

MIB = 1024**2
DISK = empty_qcow2(64 * MIB, b"mine")


class Bytes(FakeDriver):
    """A host whose volume is read as these bytes."""

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        super().__init__("fake:///bytes")
        self.data, self.error = data, error

    def download_volume(self, pool: str, name: str, sink: BinaryIO, **_: object) -> None:
        sink.write(self.data)
        if self.error is not None:
            raise self.error


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "IMAGE_DIR", tmp_path / "images")
    return tmp_path / "images"


def files(library: Path) -> list[str]:
    return sorted(str(p.relative_to(library)) for p in library.rglob("*") if p.is_file())


def test_a_volume_becomes_a_file_of_its_own(library: Path) -> None:
    file = new_file()
    facts = keep_volume(Bytes(DISK), "pool", "copy", file, size_bytes=len(DISK))
    assert files(library) == [file]
    assert (library / file).read_bytes() == DISK
    assert facts["sha256"] == hashlib.sha256(DISK).hexdigest()
    assert (facts["file"], facts["size_bytes"]) == (file, len(DISK))
    assert facts["virtual_size_bytes"] == 64 * MIB
    assert keep_volume(Bytes(DISK), "pool", "copy", file, size_bytes=0) == facts
    forget_file(file)
    forget_file(file)
    assert files(library) == []


@pytest.mark.parametrize(
    ("driver", "raised"),
    [
        (Bytes(b"no image at all"), ImageError),
        (Bytes(DISK, OSError("No space left on device")), LibraryFull),
        (Bytes(DISK, ValueError("anything")), ValueError),
    ],
)
def test_what_goes_wrong_leaves_nothing(
    library: Path, driver: Bytes, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        keep_volume(driver, "pool", "copy", new_file(), size_bytes=len(DISK))
    assert files(library) == []


def test_an_image_that_leaves_too_little_room_is_not_begun(library: Path) -> None:
    with pytest.raises(LibraryFull):
        keep_volume(Bytes(DISK), "pool", "copy", new_file(), size_bytes=2**60)
    assert files(library) == []


def test_what_a_killed_worker_left_goes_with_the_next_try_or_the_end(library: Path) -> None:
    file = new_file()
    drafts = library / "drafts"
    drafts.mkdir(parents=True)
    left, other = drafts / f"{Path(file).stem}-left", drafts / "private-other-left"
    for path in (left, other):
        path.write_bytes(b"half")
    keep_volume(Bytes(DISK), "pool", "copy", file, size_bytes=len(DISK))
    assert not left.exists()
    left.write_bytes(b"half")
    forget_file(file)
    assert files(library) == ["drafts/private-other-left"]


@pytest.mark.parametrize("file", ["files/abc.qcow2", "", "../private"])
def test_only_private_files_can_be_forgotten(library: Path, file: str) -> None:
    with pytest.raises(ValueError, match="not the file of a private image"):
        forget_file(file)
