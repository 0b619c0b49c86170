"""The driver contract: flat copies of disks, and their bytes on the way to the panel."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from hosts.images.inspect import inspect_image
from hosts.virt.errors import (
    AlreadyExists,
    CallTimeout,
    DiskFull,
    InvalidState,
    NotFound,
    VirtError,
)
from tests.hosts.contract import MIB, ContractHost, on_hosts_with, wait_until
from tests.hosts.contract_libvirt import QemuHost
from tests.hosts.test_driver_contract import upload, volume_names

FLAT = ("upload_volume", "create_overlay", "download_volume")


def disk_on_base(host: ContractHost, data: bytes = b"x" * MIB) -> None:
    """A disk of 64 MiB on a base with these bytes."""
    upload(host, "base", data)
    host.driver.create_overlay(host.pool, "disk", base="base", capacity_bytes=64 * MIB)


def convert(source: Path, target: Path, *, to: str) -> None:
    command = ["qemu-img", "convert", "-f", "raw", "-O", to, str(source), str(target)]
    subprocess.run(command, check=True)


@on_hosts_with(*FLAT)
def test_a_flat_copy_stands_on_nothing(host: ContractHost) -> None:
    disk_on_base(host, bytes(range(256)) * 4096)
    told: list[int] = []
    host.driver.flatten_volume(host.pool, "flat", source="disk", progress=told.append)
    (seen,) = [volume for volume in host.driver.volumes(host.pool) if volume.name == "flat"]
    assert (seen.format, seen.capacity_bytes) == ("qcow2", 64 * MIB)
    assert seen.allocation_bytes < 8 * MIB
    if host.is_real:
        assert "backing-filename" not in json.loads(host.image_info("flat"))
        paths = [f"{host.pool_path}/{name}" for name in ("disk", "flat")]
        subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", *paths], check=True)
    host.driver.create_overlay(host.pool, "again", base="flat", capacity_bytes=64 * MIB)


@on_hosts_with(*FLAT)
def test_a_flat_copy_can_be_carried_away(host: ContractHost, tmp_path: Path) -> None:
    disk_on_base(host)
    host.driver.flatten_volume(host.pool, "flat", source="disk")
    file, told = tmp_path / "flat.qcow2", list[int]()
    with file.open("wb") as sink:
        host.driver.download_volume(host.pool, "flat", sink, progress=told.append)
    facts = inspect_image(file, expected_format="qcow2")
    assert facts.virtual_size_bytes == 64 * MIB
    assert told[-1] == file.stat().st_size
    assert told == sorted(told)


@on_hosts_with("upload_volume", "download_volume")
def test_what_was_uploaded_comes_back(host: ContractHost) -> None:
    data = bytes(range(256)) * 2048
    upload(host, "image", data)
    sink = io.BytesIO()
    host.driver.download_volume(host.pool, "image", sink)
    assert sink.getvalue() == data


@on_hosts_with(*FLAT)
def test_copies_that_cannot_be_made(host: ContractHost) -> None:
    disk_on_base(host)
    with pytest.raises(NotFound):
        host.driver.flatten_volume(host.pool, "flat", source="nothing")
    with pytest.raises(AlreadyExists):
        host.driver.flatten_volume(host.pool, "base", source="disk")
    with pytest.raises(InvalidState):
        host.driver.flatten_volume(host.pool, "flat", source="base")  # raw
    with pytest.raises(NotFound):
        host.driver.download_volume(host.pool, "nothing", io.BytesIO())
    assert volume_names(host) == {"base", "disk"}


@on_hosts_with(*FLAT)
def test_a_copy_into_a_full_pool_is_disk_full(host: ContractHost) -> None:
    pool = host.small_pool()
    data = b"x" * 3 * MIB
    host.driver.upload_volume(
        pool, "base", io.BytesIO(data), length=len(data), format="raw", capacity_bytes=len(data)
    )
    host.driver.create_overlay(pool, "disk", base="base", capacity_bytes=64 * MIB)
    with pytest.raises(DiskFull):
        host.driver.flatten_volume(pool, "flat", source="disk")
    assert "flat" not in {volume.name for volume in host.driver.volumes(pool)}


class Full(io.BytesIO):
    """A sink that takes nothing."""

    def write(self, data: object, /) -> int:
        raise OSError("no space left here")


class Slow(io.BytesIO):
    """A sink that takes its time."""

    def write(self, data: object, /) -> int:
        time.sleep(0.3)
        return 0


@on_hosts_with("upload_volume", "download_volume")
def test_a_sink_that_fails_ends_the_download(host: ContractHost) -> None:
    upload(host, "image", b"x" * MIB)
    with pytest.raises(OSError, match="no space left here"):
        host.driver.download_volume(host.pool, "image", Full())


@pytest.mark.qemu
@pytest.mark.parametrize("host", ["qemu"], indirect=True)
def test_a_download_ends_at_its_deadline(host: ContractHost) -> None:
    upload(host, "image", b"x" * 8 * MIB)
    with pytest.raises(CallTimeout):
        host.driver.download_volume(host.pool, "image", Slow(), timeout=0.5)


def header_that_asks_for(file: str) -> bytes:
    """The first sector that a guest writes to its disk to have `file` read for it."""
    name = file.encode()
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 72, len(name), 16, MIB, 0, 1, *[0] * 5)
    return (header + name).ljust(MIB, b"\0")


@pytest.mark.qemu
@pytest.mark.parametrize("host", ["qemu"], indirect=True)
def test_what_a_guest_writes_is_data_and_names_no_file(host: ContractHost, tmp_path: Path) -> None:
    """The guest's first sector is a qcow2 header with a file of the host as its base."""
    hostile = header_that_asks_for("/etc/hostname")
    raw, packed, back = (tmp_path / name for name in ("raw", "packed", "back"))
    raw.write_bytes(hostile)
    convert(raw, packed, to="qcow2")
    data = packed.read_bytes()
    upload(host, "base", data, format="qcow2", capacity_bytes=MIB)
    host.driver.create_overlay(host.pool, "disk", base="base", capacity_bytes=2 * MIB)
    host.driver.flatten_volume(host.pool, "flat", source="disk")
    with back.open("wb") as sink:
        host.driver.download_volume(host.pool, "flat", sink)
    inspect_image(back, expected_format="qcow2")
    plain = tmp_path / "plain"
    command = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(back), str(plain)]
    subprocess.run(command, check=True)
    assert plain.read_bytes() == hostile + bytes(MIB)


FREEZE = """
touch {ready}
until found=$(pgrep -x qemu-img); do :; done
kill -STOP $found
echo $found
"""


@contextlib.contextmanager
def freezing_copies(host: QemuHost) -> Iterator[Future[str]]:
    """Somebody in the host who freezes the next qemu-img as it starts; answers its number."""
    ready = host.private.dir / "freezing"
    with ThreadPoolExecutor(1) as pool:
        number = pool.submit(host.private.exec, "sh", "-c", FREEZE.format(ready=ready))
        wait_until(ready.exists, 30, "somebody waits for qemu-img")
        yield number
    ready.unlink()


@pytest.mark.qemu
@pytest.mark.parametrize("host", ["qemu"], indirect=True)
def test_a_copy_that_nobody_waits_for_is_busy_until_it_is_done(host: QemuHost) -> None:
    """The host goes on with it, and says so to whoever wants to begin anew."""
    disk_on_base(host, os.urandom(MIB) * 256)
    failures: list[BaseException] = []

    def give_up(written: int) -> None:
        if failures:
            raise failures[0]

    def copy() -> None:
        with contextlib.suppress(InterruptedError):
            host.driver.flatten_volume(host.pool, "flat", source="disk", progress=give_up)

    thread = threading.Thread(target=copy)
    with freezing_copies(host) as frozen:
        thread.start()
        number = frozen.result().strip()
    failures.append(InterruptedError("the worker is gone"))
    thread.join(30)
    assert not thread.is_alive()
    with pytest.raises(VirtError) as refused:
        host.driver.delete_volume(host.pool, "flat")
    assert (refused.value.code, refused.value.retryable) == ("resource_busy", True)
    host.private.exec("kill", "-CONT", number)

    def deleted() -> bool:
        with contextlib.suppress(VirtError):
            return host.driver.delete_volume(host.pool, "flat")
        return False

    wait_until(deleted, 60, "the copy is done and gone")
    host.driver.flatten_volume(host.pool, "flat", source="disk")
