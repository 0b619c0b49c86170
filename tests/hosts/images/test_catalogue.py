"""The catalogue: what is shipped is sound, and what is not sound is refused with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hosts.images.catalogue import load_catalogue
from hosts.images.errors import ImageError, ImageErrorCode

GOOD: dict[str, Any] = {
    "slug": "debian-13",
    "name": "Debian 13",
    "os_flavor": "debian",
    "os_version": "13",
    "url": "https://images.example.org/debian-13.qcow2",
    "checksum": {"url": "https://images.example.org/SHA512SUMS", "algorithm": "sha512"},
    "min_disk_gib": 3,
    "min_memory_mib": 512,
    "default_user": "debian",
}


def write(tmp_path: Path, entries: object) -> Path:
    path = tmp_path / "images.yaml"
    path.write_text(yaml.safe_dump(entries))
    return path


def test_the_shipped_catalogue_has_the_promised_systems() -> None:
    images = {image.slug: image for image in load_catalogue()}
    assert set(images) >= {
        *("debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04", "ubuntu-26.04"),
        *("alma-9", "alma-10", "rocky-9", "rocky-10", "fedora-44", "opensuse-leap-16.0"),
        *("alpine-3.24", "arch", "tiny", "debian-12-local"),
    }
    assert images["tiny"].build == "tiny"
    assert images["debian-12-local"].build == "debian-12"
    for image in images.values():
        if image.build is None:
            assert image.checksum is not None, image.slug
            assert f"{image.url}".startswith("https://"), image.slug
            assert image.checksum.url.startswith("https://"), image.slug


def test_an_entry_becomes_a_frozen_value(tmp_path: Path) -> None:
    (image,) = load_catalogue(write(tmp_path, [GOOD]))
    assert image.architecture == "x86"
    assert image.checksum is not None
    assert image.checksum.file == r"debian\-13\.qcow2"
    with pytest.raises(AttributeError):
        image.slug = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"slug": "Debian 13"}, "entry|Debian 13: slug: only small letters"),
        ({"slug": None}, "entry 1: slug: is missing"),
        ({"name": ""}, "debian-13: name: must be text"),
        ({"os_version": 13}, "debian-13: os_version: must be text in quotes"),
        ({"architecture": "mips"}, "debian-13: architecture: must be one of x86, arm"),
        ({"url": "ftp://images.example.org/x"}, "debian-13: url: must be an http or https"),
        ({"url": "file:///etc/passwd"}, "debian-13: url: must be an http or https"),
        ({"checksum": None}, "debian-13: checksum: is missing"),
        ({"checksum": {**GOOD["checksum"], "algorithm": "md5"}}, "checksum.algorithm: must be"),
        ({"checksum": {**GOOD["checksum"], "file": "("}}, "checksum.file: is no regular"),
        ({"checksum": {**GOOD["checksum"], "size": 1}}, "checksum: has no field size"),
        ({"checksum": {"algorithm": "sha256"}}, "checksum.url: must be an http"),
        ({"min_disk_gib": "3"}, "debian-13: min_disk_gib: must be a whole number"),
        ({"min_memory_mib": True}, "debian-13: min_memory_mib: must be a whole number"),
        ({"default_user": "a b"}, "debian-13: default_user: is no user name"),
        ({"agent": "yes"}, "debian-13: agent: must be true or false"),
        ({"build": "tiny"}, "debian-13: build: stands alone"),
        ({"min_disk": 3}, "debian-13: min_disk: is not a field"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ImageError, match=complaint) as caught:
        load_catalogue(write(tmp_path, [{**GOOD, **change}]))
    assert caught.value.code == ImageErrorCode.CATALOGUE
    assert caught.value.message.startswith("images.yaml: ")


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([], "must be a list"),
        ({"a": 1}, "must be a list"),
        (["text"], "entry 1: must be a mapping"),
        ([GOOD, GOOD], "debian-13: slug: is used twice"),
        ([{**GOOD, "url": None, "checksum": None, "build": "gentoo"}], "build: stands alone"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, entries: object, complaint: str) -> None:
    with pytest.raises(ImageError, match=complaint):
        load_catalogue(write(tmp_path, entries))


def test_an_unknown_build_is_refused(tmp_path: Path) -> None:
    entry = {key: value for key, value in GOOD.items() if key not in ("url", "checksum")}
    with pytest.raises(ImageError, match="build: must be one of tiny, debian-12"):
        load_catalogue(write(tmp_path, [{**entry, "build": "gentoo"}]))


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        load_catalogue(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("- slug: [")
    with pytest.raises(ImageError, match=r"broken\.yaml"):
        load_catalogue(broken)
