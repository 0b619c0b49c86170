"""The seed, read back by pycdlib and by the tools that a guest's udev uses."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pycdlib
import pytest

from hosts.virt.seed import LABEL, build_seed

FILES = {
    "meta-data": b"instance-id: 17\nlocal-hostname: shop\n",
    "user-data": b"#cloud-config\n" + b"# \xc3\xbc\n" * 8000,
    "network-config": b"version: 2\n",
    "vendor-data": b"#cloud-config\n{}\n",
}


@pytest.mark.parametrize("tree", ["rr_path", "joliet_path"])
def test_both_trees_hold_the_files_under_their_names(tree: str) -> None:
    image = pycdlib.PyCdlib()
    image.open_fp(BytesIO(build_seed(FILES)))
    for name, data in FILES.items():
        out = BytesIO()
        image.get_file_from_iso_fp(out, **{tree: f"/{name}"})
        assert out.getvalue() == data
    image.close()


def test_the_guests_udev_finds_the_label(tmp_path: Path) -> None:
    file = tmp_path / "seed.iso"
    file.write_bytes(build_seed(FILES))
    blkid = shutil.which("blkid") or "/usr/sbin/blkid"
    command = [blkid, "-p", "-o", "export", str(file)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"LABEL={LABEL}\n" in told
    assert "TYPE=iso9660\n" in told


def test_the_same_files_give_whole_sectors_and_fit_a_small_disk() -> None:
    image = build_seed(FILES)
    assert len(image) % 2048 == 0
    assert len(image) < 1024 * 1024


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"meta-data": b""},
        {"user-data": b""},
        {"meta-data": b"", "user-data": b"", "../etc": b""},
        {"meta-data": b"", "user-data": b"", "user-data2": b""},
    ],
    ids=lambda files: ",".join(files) or "nothing",
)
def test_what_is_no_seed_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        build_seed(files)


def test_empty_user_data_is_a_seed() -> None:
    assert build_seed({"meta-data": b"instance-id: 1\n", "user-data": b""})
