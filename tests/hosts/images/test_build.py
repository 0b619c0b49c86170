"""Builders without their long work: cache, lock, errors, and the bytes that make a disk boot."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import struct
import subprocess
import time
from pathlib import Path

import pytest

from hosts.images.build import (
    BUILDERS,
    REQUIRED_PACKAGES,
    BuiltImage,
    bootdisk,
    build_debian12,
    build_tiny,
    initramfs,
    recipe,
)
from hosts.images.errors import ImageError, ImageErrorCode


def test_each_build_of_the_catalogue_has_a_builder() -> None:
    assert set(BUILDERS) == {"tiny", "debian-12"}
    assert {"grub-pc-bin", "mmdebstrap", "qemu-utils"} <= set(REQUIRED_PACKAGES)


def test_a_finished_image_is_returned_at_once(
    tiny: BuiltImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")  # no program can run
    steps: list[tuple[str, int]] = []
    again = build_tiny(tiny.path.parent, lambda step, percent: steps.append((step, percent)))
    assert again == tiny
    assert steps == [("done", 100)]


def test_the_manifest_tells_the_truth(tiny: BuiltImage) -> None:
    with tiny.path.open("rb") as handle:
        assert hashlib.file_digest(handle, "sha256").hexdigest() == tiny.sha256
    assert tiny.size_bytes == tiny.path.stat().st_size
    assert tiny.virtual_size_bytes == 96 * 1024**2
    assert tiny.kernel.endswith("-cloud-amd64")
    assert tiny.packages["dropbear-bin"]


def test_a_file_of_another_length_is_not_taken_for_the_image(
    tiny: BuiltImage, tmp_path: Path
) -> None:
    key = tiny.path.stem.removeprefix("tiny-")
    manifest = tiny.path.with_suffix(".json")
    (tmp_path / manifest.name).write_bytes(manifest.read_bytes())
    assert recipe.cached_image(tmp_path, "tiny", key) is None
    (tmp_path / tiny.path.name).write_bytes(b"half")
    assert recipe.cached_image(tmp_path, "tiny", key) is None
    (tmp_path / manifest.name).write_text("{")
    assert recipe.cached_image(tmp_path, "tiny", key) is None


def test_missing_packages_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program, path=None: None)
    with pytest.raises(
        ImageError, match=r"apt-get install apt dpkg e2fsprogs grub-common"
    ) as caught:
        build_tiny(tmp_path)
    assert caught.value.code == ImageErrorCode.MISSING_PACKAGE
    assert not list(tmp_path.glob("*.qcow2"))


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(ImageError, match="sh failed with 3: out of luck") as caught:
        recipe.run(["sh", "-c", "echo out of luck >&2; exit 3"])
    assert caught.value.code == ImageErrorCode.BUILD_FAILED
    with pytest.raises(ImageError) as caught:
        recipe.run(["sh", "-c", "echo 'write: No space left on device' >&2; exit 1"])
    assert caught.value.code == ImageErrorCode.DISK_FULL


def test_a_failed_build_leaves_nothing_half_made(tmp_path: Path) -> None:
    def fail() -> None:
        with recipe.scratch(tmp_path, "x") as folder:
            (folder / "part").write_text("half")
            raise ImageError(ImageErrorCode.BUILD_FAILED, "stop")

    with pytest.raises(ImageError):
        fail()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".x.build").mkdir()
    (tmp_path / ".x.build" / "left by a killed build").touch()
    with recipe.scratch(tmp_path, "x") as folder:
        assert list(folder.iterdir()) == []


def _hold(workdir: Path, log: Path) -> None:
    with recipe.build_lock(workdir, "x"):
        with log.open("a") as handle:
            handle.write("in\n")
        time.sleep(0.2)
        with log.open("a") as handle:
            handle.write("out\n")


def test_only_one_builds_at_a_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_hold, args=(tmp_path, log)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert log.read_text().split() == ["in", "out"] * 3


def test_the_key_follows_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = recipe.recipe_key(tmp_path)
    assert recipe.recipe_key(tmp_path) == before
    (tmp_path / "a").write_text("2")
    assert recipe.recipe_key(tmp_path) != before


def test_the_loader_is_where_the_bios_looks_for_it(tmp_path: Path) -> None:
    disk, core = tmp_path / "disk", tmp_path / "core"
    with disk.open("wb") as handle:
        handle.truncate(4 * 1024**2)
    core.write_bytes(bytes(1024))
    bootdisk.write_mbr(disk, 8192)
    table = disk.read_bytes()[440:512]
    bootdisk.write_loader(disk, core, 1, 2047)
    written = disk.read_bytes()
    assert written[440:512] == table  # the partition table is as it was
    assert written[510:512] == b"\x55\xaa"
    assert struct.unpack_from("<Q", written, 0x5C) == (1,)
    assert written[0x66:0x68] == b"\x90\x90"
    assert struct.unpack_from("<Q", written, 512 + 0x1F4) == (2,)
    assert struct.unpack_from("<II", written, 446 + 8) == (2048, 8192 - 2048)
    core.write_bytes(bytes(2048 * 512))
    with pytest.raises(ImageError, match="too large"):
        bootdisk.write_loader(disk, core, 1, 2047)


def test_holes_stay_holes(tmp_path: Path) -> None:
    disk, content = tmp_path / "disk", tmp_path / "content"
    content.write_bytes(b"a" * 100 + bytes(8 * 1024**2) + b"z" * 100)
    with disk.open("wb") as handle:
        handle.truncate(16 * 1024**2)
    bootdisk.place(disk, content, 2048)
    assert disk.read_bytes()[1024**2 :][: content.stat().st_size] == content.read_bytes()
    assert disk.stat().st_blocks * 512 < 4 * 1024**2


def test_an_initramfs_can_be_unpacked(tmp_path: Path) -> None:
    archive = initramfs.cpio_archive(
        {"bin": None, "bin/tool": b"#!/bin/sh\n", "bin/link": "tool", "text": b"abc"}, ["bin/tool"]
    )
    subprocess.run(["cpio", "-idm", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "bin/link").resolve() == tmp_path / "bin/tool"
    assert (tmp_path / "bin/tool").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "text").read_bytes() == b"abc"


def test_modules_are_loaded_after_what_they_need(tmp_path: Path) -> None:
    needs = {"virtio_blk": "virtio,virtio-ring", "virtio": "virtio-ring", "virtio-ring": ""}
    folder = tmp_path / "lib/modules/6.1/kernel"
    folder.mkdir(parents=True)
    for name, depends in needs.items():
        (folder / f"{name}.ko").write_bytes(b"\x7fELF\0depends=" + depends.encode() + b"\0")
    files = initramfs.module_files(tmp_path)
    assert initramfs.load_order(["virtio_blk"], files) == ["virtio_ring", "virtio", "virtio_blk"]
    with pytest.raises(ImageError, match="no module ext5"):
        initramfs.load_order(["ext5"], files)


@pytest.mark.slow
def test_two_builds_are_equal_to_the_byte(tiny: BuiltImage, tmp_path: Path) -> None:
    """Equal packages give an equal image, so that two machines offer the same base volume."""
    other = build_tiny(tmp_path)
    if other.packages == tiny.packages:
        assert other.sha256 == tiny.sha256
    manifest = json.loads(other.path.with_suffix(".json").read_text())
    assert manifest["sha256"] == other.sha256


def test_without_root_it_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ImageError, match="image_fetch debian-12") as refused:
        build_debian12(tmp_path)
    assert refused.value.code is ImageErrorCode.NEEDS_ROOT


@pytest.mark.qemu  # needs root
def test_a_clean_up_does_not_walk_into_what_is_mounted(tmp_path: Path) -> None:
    left = tmp_path / ".x.build" / "root" / "proc"
    left.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    subprocess.run(["mount", "--bind", precious, left], check=True)
    try:
        with pytest.raises(ImageError, match="umount it first"), recipe.scratch(tmp_path, "x"):
            pass
    finally:
        subprocess.run(["umount", left], check=True)
    assert (precious / "file").exists()
    with recipe.scratch(tmp_path, "x") as folder:
        assert list(folder.iterdir()) == []
