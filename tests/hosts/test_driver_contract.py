"""The driver contract: the host itself, its storage and its network filters.

Each test holds one sentence of hosts/virt/driver.py, on every kind of host
that has the calls it needs; what libvirt's test driver lacks stands in
`tests.hosts.contract.GAPS`.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from hosts.virt.errors import (
    AlreadyExists,
    CallTimeout,
    DiskFull,
    InvalidState,
    NotFound,
    VirtError,
)
from tests.hosts.contract import (
    MIB,
    ContractHost,
    on_hosts_with,
)


def upload(host: ContractHost, name: str, data: bytes, **changes: Any) -> None:
    values: dict[str, Any] = {
        "length": len(data),
        "format": "raw",
        "capacity_bytes": max(len(data), 512),
    }
    host.driver.upload_volume(host.pool, name, io.BytesIO(data), **(values | changes))


def volume_names(host: ContractHost) -> set[str]:
    return {volume.name for volume in host.driver.volumes(host.pool)}


class Watched(io.BytesIO):
    """A source that lets a test look, or fail, each time it is read from."""

    def __init__(self, data: bytes, on_read: Callable[[], None]) -> None:
        super().__init__(data)
        self._on_read = on_read

    def read(self, size: int | None = -1, /) -> bytes:
        self._on_read()
        return super().read(size)


# --- the host ---------------------------------------------------------------


@on_hosts_with("probe")
def test_probe_tells_what_the_host_is(host: ContractHost) -> None:
    seen = host.driver.probe()
    assert seen.cpus >= 1
    assert seen.memory_mib >= 64
    assert seen.architecture
    assert seen.hostname
    assert host.pool in [pool.name for pool in seen.pools]
    assert host.driver.probe().uuid == seen.uuid


@on_hosts_with("probe")
def test_probe_says_kvm_only_with_a_reason(host: ContractHost) -> None:
    seen = host.driver.probe()
    assert seen.virt_type in ("kvm", "qemu")
    assert len(seen.virt_reason.split()) > 3
    if host.is_real and not {"vmx", "svm"} & set(Path("/proc/cpuinfo").read_text().split()):
        assert seen.virt_type == "qemu"


@on_hosts_with("ensure_pool")
def test_ensure_pool_makes_a_started_pool_once(host: ContractHost) -> None:
    first = host.driver.ensure_pool(host.pool, host.pool_path)
    again = host.driver.ensure_pool(host.pool, host.pool_path)
    assert first.active
    assert (first.name, first.path, first.type) == (host.pool, host.pool_path, "dir")
    assert (again.name, again.path, again.active) == (first.name, first.path, True)
    assert host.starts_with_host(host.pool)


@on_hosts_with("ensure_pool")
def test_ensure_pool_refuses_another_path(host: ContractHost) -> None:
    with pytest.raises(AlreadyExists):
        host.driver.ensure_pool(host.pool, host.pool_path + "-elsewhere")
    assert host.driver.pool(host.pool).path == host.pool_path


@on_hosts_with("write_volume")
def test_pool_figures_are_fresh(host: ContractHost) -> None:
    before = host.driver.pool(host.pool)
    host.driver.write_volume(host.pool, "filler", b"x" * 8 * MIB, capacity_bytes=8 * MIB)
    after = host.driver.pool(host.pool)
    assert after.capacity_bytes == before.capacity_bytes
    assert before.available_bytes - after.available_bytes >= 7 * MIB


@on_hosts_with("pool")
def test_an_unknown_pool_is_not_found(host: ContractHost) -> None:
    with pytest.raises(NotFound):
        host.driver.pool("no-such-pool")
    with pytest.raises(NotFound):
        host.driver.volumes("no-such-pool")


@on_hosts_with("ensure_network")
def test_ensure_network_keeps_what_is_there(host: ContractHost) -> None:
    spec = host.network_spec()
    assert host.driver.ensure_network(spec) == spec
    other = replace(spec, ipv4_gateway="10.84.0.1/24", ipv6_gateway="fd84::1/64")
    assert host.driver.ensure_network(other) == spec
    assert spec.name in host.driver.probe().networks
    assert host.bridge_of(spec.name) == spec.bridge


# --- volumes ------------------------------------------------------------------


@on_hosts_with("volumes")
def test_volumes_lists_what_others_put_there(host: ContractHost) -> None:
    host.add_foreign_volume("theirs.img", MIB)
    seen = {volume.name: volume for volume in host.driver.volumes(host.pool)}
    assert seen["theirs.img"].capacity_bytes == MIB
    assert seen["theirs.img"].pool == host.pool


@on_hosts_with("upload_volume")
def test_upload_puts_the_bytes_under_the_name(host: ContractHost) -> None:
    data = bytes(range(256)) * 12288  # 3 MiB
    sent: list[int] = []
    upload(host, "image", data, progress=sent.append)
    (seen,) = [volume for volume in host.driver.volumes(host.pool) if volume.name == "image"]
    assert (seen.capacity_bytes, seen.format) == (len(data), "raw")
    assert host.content("image", 100_000) == data[:100_000]
    assert sent == sorted(set(sent))
    assert sent[-1] == len(data)


@on_hosts_with("upload_volume")
def test_upload_leaves_an_existing_volume_as_it_is(host: ContractHost) -> None:
    upload(host, "image", b"first" * 1000)
    upload(host, "image", b"other" * 1000)
    assert host.content("image", 5) == b"first"


@on_hosts_with("upload_volume")
def test_the_name_appears_only_when_all_bytes_are_there(host: ContractHost) -> None:
    meanwhile: set[str] = set()
    source = Watched(bytes(3 * MIB), lambda: meanwhile.update(volume_names(host)))
    host.driver.upload_volume(
        host.pool, "image", source, length=3 * MIB, format="raw", capacity_bytes=3 * MIB
    )
    assert meanwhile
    assert all(name.startswith(".upload-") for name in meanwhile)
    assert volume_names(host) == {"image"}


@on_hosts_with("upload_volume")
def test_an_upload_that_fails_leaves_no_volume_of_that_name(host: ContractHost) -> None:
    reads = iter([None])

    def fail_at_the_second() -> None:
        try:
            next(reads)
        except StopIteration:
            raise OSError("the source is gone") from None

    source = Watched(bytes(9 * MIB), fail_at_the_second)
    with pytest.raises((VirtError, OSError)):
        host.driver.upload_volume(
            host.pool, "image", source, length=9 * MIB, format="raw", capacity_bytes=9 * MIB
        )
    assert all(name.startswith(".upload-") for name in volume_names(host))
    upload(host, "image", b"whole" * 1000)
    assert host.content("image", 5) == b"whole"


@on_hosts_with("upload_volume")
def test_a_source_that_ends_early_leaves_no_volume(host: ContractHost) -> None:
    with pytest.raises(VirtError):
        upload(host, "image", b"x" * 1000, length=2000, capacity_bytes=2048)
    assert "image" not in volume_names(host)


@on_hosts_with("upload_volume")
def test_an_upload_ends_at_its_deadline(host: ContractHost) -> None:
    source = Watched(bytes(16 * MIB), lambda: time.sleep(0.1))
    started = time.monotonic()
    with pytest.raises(CallTimeout):
        host.driver.upload_volume(
            host.pool,
            "image",
            source,
            length=16 * MIB,
            format="raw",
            capacity_bytes=16 * MIB,
            timeout=0.5,
        )
    assert time.monotonic() - started < 10
    assert "image" not in volume_names(host)


@on_hosts_with("upload_volume")
def test_an_upload_into_a_full_pool_is_disk_full(host: ContractHost) -> None:
    pool = host.small_pool()
    size = 8 * MIB
    with pytest.raises(DiskFull):
        host.driver.upload_volume(
            pool, "image", io.BytesIO(b"x" * size), length=size, format="raw", capacity_bytes=size
        )
    assert "image" not in [volume.name for volume in host.driver.volumes(pool)]


@on_hosts_with("delete_volume")
def test_what_a_killed_upload_left_can_be_deleted(host: ContractHost) -> None:
    host.add_foreign_volume(".upload-image-1", MIB)
    assert host.driver.delete_volume(host.pool, ".upload-image-1") is True
    assert volume_names(host) == set()


@on_hosts_with("write_volume")
def test_write_volume_is_the_data_and_zeros(host: ContractHost) -> None:
    host.driver.write_volume(host.pool, "seed", b"#cloud-config", capacity_bytes=MIB)
    (seen,) = host.driver.volumes(host.pool)
    assert (seen.name, seen.format, seen.capacity_bytes) == ("seed", "raw", MIB)
    assert host.content("seed", 2 * MIB) == b"#cloud-config".ljust(MIB, b"\0")


@on_hosts_with("write_volume")
def test_write_volume_overwrites_in_place(host: ContractHost) -> None:
    host.driver.write_volume(host.pool, "seed", b"secret" * 1000, capacity_bytes=MIB)
    before = host.identity("seed")
    host.driver.write_volume(host.pool, "seed", b"no more", capacity_bytes=MIB)
    assert host.content("seed", 2 * MIB) == b"no more".ljust(MIB, b"\0")
    assert host.identity("seed") == before


@on_hosts_with("upload_volume", "create_overlay")
def test_create_overlay_is_a_thin_qcow2_on_its_base(host: ContractHost) -> None:
    upload(host, "base", b"x" * MIB)
    host.driver.create_overlay(host.pool, "disk", base="base", capacity_bytes=64 * MIB)
    (seen,) = [volume for volume in host.driver.volumes(host.pool) if volume.name == "disk"]
    assert (seen.format, seen.capacity_bytes) == ("qcow2", 64 * MIB)
    assert seen.allocation_bytes < MIB
    if host.is_real:
        info = json.loads(host.image_info("disk"))
        assert info["cluster-size"] == 128 * 1024
        assert info["format-specific"]["data"]["extended-l2"] is True
        assert info["full-backing-filename"] == f"{host.pool_path}/base"
        assert info["backing-filename-format"] == "raw"


@on_hosts_with("upload_volume", "create_overlay")
def test_create_overlay_accepts_only_the_same_again(host: ContractHost) -> None:
    upload(host, "base", b"x" * MIB)
    upload(host, "base2", b"y" * MIB)
    create = host.driver.create_overlay
    create(host.pool, "disk", base="base", capacity_bytes=64 * MIB)
    create(host.pool, "disk", base="base", capacity_bytes=64 * MIB)
    with pytest.raises(AlreadyExists):
        create(host.pool, "disk", base="base2", capacity_bytes=64 * MIB)
    with pytest.raises(AlreadyExists):
        create(host.pool, "disk", base="base", capacity_bytes=32 * MIB)


@on_hosts_with("create_overlay")
def test_create_overlay_needs_its_base(host: ContractHost) -> None:
    with pytest.raises(NotFound):
        host.driver.create_overlay(host.pool, "disk", base="nothing", capacity_bytes=MIB)
    assert volume_names(host) == set()


@on_hosts_with("upload_volume", "create_overlay", "grow_volume")
def test_a_volume_grows_and_never_shrinks(host: ContractHost) -> None:
    upload(host, "base", b"x" * MIB)
    host.driver.create_overlay(host.pool, "disk", base="base", capacity_bytes=64 * MIB)
    beyond_the_pool = host.driver.pool(host.pool).capacity_bytes + 64 * MIB
    for wanted, capacity in (
        (96 * MIB, 96 * MIB),
        (96 * MIB, 96 * MIB),
        (32 * MIB, 96 * MIB),
        (beyond_the_pool, beyond_the_pool),
    ):
        host.driver.grow_volume(host.pool, "disk", capacity_bytes=wanted)
        (seen,) = [volume for volume in host.driver.volumes(host.pool) if volume.name == "disk"]
        assert (seen.capacity_bytes, seen.format) == (capacity, "qcow2")
        assert seen.allocation_bytes < MIB
    if host.is_real:
        info = json.loads(host.image_info("disk"))
        assert info["full-backing-filename"] == f"{host.pool_path}/base"
        assert info["format-specific"]["data"]["extended-l2"] is True


@on_hosts_with("grow_volume")
def test_only_a_qcow2_that_is_there_grows(host: ContractHost) -> None:
    host.add_foreign_volume("raw.img", MIB)
    with pytest.raises(NotFound):
        host.driver.grow_volume(host.pool, "nothing", capacity_bytes=MIB)
    with pytest.raises(InvalidState):
        host.driver.grow_volume(host.pool, "raw.img", capacity_bytes=2 * MIB)
    (seen,) = host.driver.volumes(host.pool)
    assert seen.capacity_bytes == MIB


@on_hosts_with("delete_volume")
def test_delete_volume_says_whether_there_was_one(host: ContractHost) -> None:
    host.add_foreign_volume("old.img", MIB)
    assert host.driver.delete_volume(host.pool, "old.img") is True
    assert host.driver.delete_volume(host.pool, "old.img") is False
    assert volume_names(host) == set()


@on_hosts_with("upload_volume", "create_overlay", "delete_volume")
def test_a_base_can_go_before_its_overlays(host: ContractHost) -> None:
    """libvirt does not look at who stands on a volume; the panel keeps count."""
    upload(host, "base", b"x" * MIB)
    host.driver.create_overlay(host.pool, "disk", base="base", capacity_bytes=MIB)
    assert host.driver.delete_volume(host.pool, "base") is True


@on_hosts_with("delete_volume")
@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "..", "", "a/b"])
def test_only_files_inside_the_pool_can_be_named(
    host: ContractHost, name: str, tmp_path: Path
) -> None:
    outside = [tmp_path / "outside", Path(host.pool_path).parent / "outside"]
    for file in outside[: 2 if host.is_real else 1]:
        file.write_text("stays")
    with pytest.raises(ValueError, match="volume"):
        host.driver.delete_volume(host.pool, name)
    assert Path("/etc/hostname").exists()
    assert all(file.exists() for file in outside[: 2 if host.is_real else 1])


# --- network filters ------------------------------------------------------------


@on_hosts_with("ensure_filter", "filters")
def test_filters_are_ours_only(host: ContractHost) -> None:
    theirs = host.add_foreign_filter()
    spec = host.filter_spec()
    host.driver.ensure_filter(spec)
    host.driver.ensure_filter(spec)
    names = host.driver.filters()
    assert names.count(spec.name) == 1
    assert theirs not in names
    assert all(name.startswith("vps-") for name in names)


@on_hosts_with("ensure_filter")
def test_ensure_filter_replaces_the_rules(host: ContractHost) -> None:
    host.driver.ensure_filter(host.filter_spec(address="10.83.0.7"))
    assert "10.83.0.7" in host.filter_text(host.filter_spec().name)
    host.driver.ensure_filter(host.filter_spec(address="10.83.0.99"))
    text = host.filter_text(host.filter_spec().name)
    assert "10.83.0.99" in text
    assert "10.83.0.7'" not in text


@on_hosts_with("ensure_filter")
def test_a_running_guest_gets_the_new_rules_at_once(host: ContractHost) -> None:
    uuid = host.running()
    host.driver.ensure_filter(host.filter_spec(address="10.83.0.98"))
    assert "10.83.0.98" in host.rules_in_force(uuid)


@on_hosts_with("delete_filter")
def test_delete_filter_says_whether_there_was_one(host: ContractHost) -> None:
    spec = host.filter_spec()
    host.driver.ensure_filter(spec)
    assert host.driver.delete_filter(spec.name) is True
    assert host.driver.delete_filter(spec.name) is False
    assert spec.name not in host.driver.filters()


@on_hosts_with("delete_filter")
def test_a_filter_in_use_stays(host: ContractHost) -> None:
    uuid = host.running()
    name = host.filter_spec().name
    with pytest.raises(InvalidState):
        host.driver.delete_filter(name)
    assert name in host.driver.filters()
    host.driver.destroy(uuid)
    host.driver.undefine(uuid)
    assert host.driver.delete_filter(name) is True


@on_hosts_with("delete_filter")
def test_names_that_are_no_filter_of_ours_are_refused(host: ContractHost) -> None:
    with pytest.raises(ValueError, match="filter"):
        host.driver.delete_filter("clean-traffic")
    assert str(uuid4()) not in host.driver.filters()
