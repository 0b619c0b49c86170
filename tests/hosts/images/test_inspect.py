"""The inspector: sound images pass, hostile ones are refused before QEMU sees them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.images import inspect
from hosts.images.errors import ImageError, ImageErrorCode
from hosts.images.inspect import ImageFacts, inspect_image
from hosts.images.qcow2 import read_qcow2
from tests.hosts.images import hostile

MIB = 1024**2


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A raw disk with a boot sector and some data."""
    path = tmp_path / "source.raw"
    path.write_bytes(hostile.raw(b"some data", 70_000, 8 * MIB))
    return path


def fake_qemu_img(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Puts a program in the place of qemu-img. Returns the file that it touches when it runs."""
    ran = folder / "qemu-img-ran"
    program = folder / "bin" / "qemu-img"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {ran}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return ran


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-c"],
        ["-c", "-o", "compression_type=zstd"],
        ["-o", "compat=0.10"],
        ["-o", "cluster_size=512"],
        ["-o", "extended_l2=on,cluster_size=128k"],
        ["-o", "preallocation=full,cluster_size=2M"],
        ["-o", "lazy_refcounts=on"],
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_what_qemu_makes_passes(tmp_path: Path, source: Path, options: list[str]) -> None:
    image = tmp_path / "image.qcow2"
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options]
    subprocess.run([*command, str(source), str(image)], check=True)
    facts = inspect_image(image)
    assert facts.format == "qcow2"
    assert facts.virtual_size_bytes == 8 * MIB
    assert facts.file_size_bytes == image.stat().st_size
    assert facts == inspect_image(image, expected_format="qcow2")


def test_a_large_empty_disk_passes(tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1T"], check=True)
    assert inspect_image(image).virtual_size_bytes == 1024**4


def test_the_sound_image_of_these_tests_passes(tmp_path: Path) -> None:
    """So what the hostile ones are refused for is what was done to them."""
    image = tmp_path / "image.qcow2"
    image.write_bytes(hostile.qcow2())
    assert inspect_image(image) == ImageFacts(
        "qcow2", hostile.VIRTUAL, 6 * hostile.CLUSTER, hostile.CLUSTER, "zlib"
    )


def test_a_raw_disk_passes(source: Path) -> None:
    assert inspect_image(source) == ImageFacts("raw", 8 * MIB, 8 * MIB)


@pytest.mark.parametrize("name", hostile.HOSTILE)
def test_a_hostile_image_is_refused_before_qemu_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make, code = hostile.HOSTILE[name]
    ran = fake_qemu_img(tmp_path, monkeypatch, "exit 0")
    image = tmp_path / "upload"
    image.write_bytes(make())
    with pytest.raises(ImageError) as caught:
        inspect_image(image)
    assert caught.value.code == code
    assert not caught.value.retryable
    assert not ran.exists()


def test_there_are_enough_hostile_images() -> None:
    assert len(hostile.HOSTILE) >= 25


def test_the_format_is_what_was_said(tmp_path: Path, source: Path) -> None:
    """A raw disk whose owner wrote a qcow2 header into it does not become qcow2, nor pass."""
    image = tmp_path / "image.raw"
    image.write_bytes(hostile.with_backing(b"/etc/shadow"))
    for path, said in ((image, "raw"), (source, "qcow2")):
        with pytest.raises(ImageError) as caught:
            inspect_image(path, expected_format=said)
        assert caught.value.code == ImageErrorCode.FORMAT_MISMATCH
    with pytest.raises(ImageError) as caught:
        inspect_image(source, expected_format="vmdk")
    assert caught.value.code == ImageErrorCode.UNKNOWN_FORMAT


def test_a_smaller_limit_of_the_caller_holds(source: Path) -> None:
    with pytest.raises(ImageError) as caught:
        inspect_image(source, max_virtual_bytes=4 * MIB)
    assert caught.value.code == ImageErrorCode.SIZE


def test_links_pipes_devices_and_folders_are_not_opened(tmp_path: Path, source: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(source)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, code in (
        (link, ImageErrorCode.STORAGE),
        (pipe, ImageErrorCode.UNKNOWN_FORMAT),
        (Path("/dev/zero"), ImageErrorCode.UNKNOWN_FORMAT),
        (tmp_path, ImageErrorCode.UNKNOWN_FORMAT),
        (tmp_path / "absent", ImageErrorCode.STORAGE),
    ):
        with pytest.raises(ImageError) as caught:
            inspect_image(path)
        assert caught.value.code == code, path


@pytest.mark.parametrize(
    "change",
    [
        {"format": "raw"},
        {"virtual-size": 1},
        {"backing-filename": "/etc/shadow"},
        {"encrypted": True},
        {"snapshots": [{"id": "1"}]},
        {"format-specific": {"data": {"data-file": "/etc/shadow"}}},
        {"format-specific": {"data": {"corrupt": True}}},
    ],
)
def test_qemu_has_to_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    answer = json.dumps({"format": "qcow2", "virtual-size": hostile.VIRTUAL, **change})
    fake_qemu_img(tmp_path, monkeypatch, f"echo '{answer}'")
    image = tmp_path / "image.qcow2"
    image.write_bytes(hostile.qcow2())
    with pytest.raises(ImageError) as caught:
        inspect_image(image)
    assert caught.value.code == ImageErrorCode.FORMAT_MISMATCH


@given(
    st.lists(
        st.tuples(st.integers(0, 200) | st.integers(hostile.L1, hostile.L2 + 64), st.binary()),
        max_size=4,
    ),
    st.integers(0, 6 * hostile.CLUSTER),
)
def test_whatever_is_in_it_the_reader_answers_or_refuses(
    changes: list[tuple[int, bytes]], length: int
) -> None:
    """No other error, whatever the bytes; and what it accepts has nothing behind it."""
    image = hostile.qcow2()
    for offset, content in changes:
        image[offset : offset + len(content)] = content
    if length % 4 == 0:
        del image[length:]
    with contextlib.suppress(ImageError):
        facts = read_qcow2(io.BytesIO(image), max_virtual_bytes=1 << 40)
        assert facts.virtual_size_bytes <= 1 << 40
        assert image[8:16] == bytes(8)


def test_qemu_is_told_the_format_and_kept_within_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    script = f'echo "$@" >{said}; ulimit -t >>{said}; ulimit -v >>{said}; exit 1'
    fake_qemu_img(tmp_path, monkeypatch, script)
    image = tmp_path / "image.qcow2"
    image.write_bytes(hostile.qcow2())
    with pytest.raises(ImageError):
        inspect_image(image)
    arguments, cpu, memory = said.read_text().splitlines()
    assert arguments.startswith("info -f qcow2 --output=json /proc/self/fd/")
    assert (cpu, memory) == ("30", str(2 * 1024 * 1024))


def test_a_qemu_that_does_not_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect, "CPU_SECONDS", 1)
    fake_qemu_img(tmp_path, monkeypatch, "while :; do :; done")
    image = tmp_path / "image.qcow2"
    image.write_bytes(hostile.qcow2())
    with pytest.raises(ImageError) as caught:
        inspect_image(image)
    assert caught.value.code == ImageErrorCode.LIMIT


def test_without_qemu_img_it_says_which_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    image = tmp_path / "image.qcow2"
    image.write_bytes(hostile.qcow2())
    with pytest.raises(ImageError, match="qemu-utils") as caught:
        inspect_image(image)
    assert caught.value.code == ImageErrorCode.MISSING_PACKAGE
