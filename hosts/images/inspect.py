"""What a disk image really is, found out before anything opens it as a disk.

The order matters. First our own reader looks at the bytes (`qcow2.py`, and the marks of all other
formats); only a file that it finds harmless is shown to qemu-img, with its format said explicitly
and under limits; and both must agree. Formats are never guessed: a raw disk whose owner writes a
qcow2 header into it stays raw.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hosts.images.errors import ImageError, ImageErrorCode
from hosts.images.qcow2 import MAGIC, read_qcow2

FORMATS = ("qcow2", "raw")
MAX_VIRTUAL_BYTES = 2 * 1024**4
CPU_SECONDS = 30
MEMORY_BYTES = 2 * 1024**3
WALL_SECONDS = 120

ISO_MARK_AT, ISO_MARK, ISO_SECTOR = 0x8001, b"CD001", 2048

#: (offset, bytes, what it is) of formats that must not pass as a raw disk.
_MARKS = (
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0, b"QED\0", "QED"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (0, b"Bochs Virtual HD Image", "Bochs"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"BZh", "bzip2"),
    (0, b"PK\x03\x04", "zip"),
    (0x40, b"\x7f\x10\xda\xbe", "VDI"),
    (ISO_MARK_AT, ISO_MARK, "ISO 9660"),
    (257, b"ustar", "tar"),
)
#: The same, counted from the end of the file.
_TAIL_MARKS = ((512, b"conectix", "VHD"), (512, b"koly", "DMG"))


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image that is safe to offer. Sizes are bytes."""

    format: str  # "qcow2" or "raw"
    virtual_size_bytes: int
    file_size_bytes: int
    cluster_bytes: int | None = None
    compression: str | None = None


def inspect_image(
    path: Path,
    *,
    expected_format: str | None = None,
    max_virtual_bytes: int = MAX_VIRTUAL_BYTES,
) -> ImageFacts:
    """The facts of an image that stands on its own.

    Without `expected_format` a file with the qcow2 mark is qcow2, and any other
    must look like a raw disk. Raises ImageError: UNKNOWN_FORMAT,
    FORMAT_MISMATCH, CORRUPT, BACKING_FILE, DATA_FILE, ENCRYPTED,
    UNKNOWN_FEATURE, SIZE, LIMIT, STORAGE, or MISSING_PACKAGE without qemu-img.
    """
    if expected_format not in (None, *FORMATS):
        raise ImageError(
            ImageErrorCode.UNKNOWN_FORMAT, f"only {' and '.join(FORMATS)} images are taken"
        )
    with _regular_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        is_qcow2 = file.read(4) == MAGIC
        if expected_format and is_qcow2 != (expected_format == "qcow2"):
            raise ImageError(
                ImageErrorCode.FORMAT_MISMATCH, f"this is not a {expected_format} image"
            )
        if is_qcow2:
            found = read_qcow2(file, max_virtual_bytes=max_virtual_bytes)
            facts = ImageFacts(
                "qcow2", found.virtual_size_bytes, size, found.cluster_bytes, found.compression
            )
        else:
            _check_raw(file, size, max_virtual_bytes)
            facts = ImageFacts("raw", size, size)
        # The very file that was read, whatever lies under its name by now.
        _qemu_agrees(file, facts)
    return facts


def inspect_iso(path: Path) -> ImageFacts:
    """The facts of an ISO 9660 image, which guests see as a CD-ROM.

    It is given to QEMU as a raw file and read only, so nothing that is written in
    it names another. Raises ImageError: UNKNOWN_FORMAT, SIZE or STORAGE.
    """
    with _regular_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(ISO_MARK_AT)
        if file.read(len(ISO_MARK)) != ISO_MARK:
            raise ImageError(ImageErrorCode.UNKNOWN_FORMAT, "this is not an ISO 9660 image")
        if size % ISO_SECTOR:
            wrong = f"an ISO of {size} bytes, which are not whole sectors of {ISO_SECTOR}"
            raise ImageError(ImageErrorCode.SIZE, wrong)
    return ImageFacts("raw", size, size)


def _regular_file(path: Path) -> BinaryIO:
    """The opened file; no link, no device and no pipe, which could be something else the next time.

    Raises ImageError(STORAGE) or ImageError(UNKNOWN_FORMAT).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(
            ImageErrorCode.STORAGE, f"cannot open {path.name}: {error.strerror}"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ImageError(ImageErrorCode.UNKNOWN_FORMAT, f"{path.name} is no ordinary file")
    return os.fdopen(descriptor, "rb")


def _check_raw(file: BinaryIO, size: int, max_virtual_bytes: int) -> None:
    """A raw disk has no mark of its own, so it must have a boot sector and nobody else's mark."""
    for offset, mark, name in (
        *_MARKS,
        *((max(0, size - back), mark, name) for back, mark, name in _TAIL_MARKS),
    ):
        file.seek(offset)
        if file.read(len(mark)) == mark:
            raise ImageError(
                ImageErrorCode.UNKNOWN_FORMAT, f"this is {name}; only qcow2 and raw disks are taken"
            )
    file.seek(510)
    if file.read(2) != b"\x55\xaa":
        raise ImageError(
            ImageErrorCode.UNKNOWN_FORMAT, "neither a qcow2 image nor a raw disk that can boot"
        )
    if size % 512 or size > max_virtual_bytes:
        raise ImageError(
            ImageErrorCode.SIZE,
            f"a raw disk of {size} bytes; wanted are whole sectors, up to {max_virtual_bytes}",
        )


def _qemu_agrees(file: BinaryIO, facts: ImageFacts) -> None:
    """qemu-img, told the format and kept within limits, sees the same.

    Raises ImageError(FORMAT_MISMATCH), or LIMIT if it needs more than it may have.
    """
    source = f"/proc/self/fd/{file.fileno()}"
    command = ["prlimit", f"--cpu={CPU_SECONDS}", f"--as={MEMORY_BYTES}", "--core=0", "--"]
    command += ["qemu-img", "info", "-f", facts.format, "--output=json", source]
    try:
        done = subprocess.run(
            command,
            pass_fds=(file.fileno(),),
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WALL_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise ImageError(
            ImageErrorCode.MISSING_PACKAGE,
            "images cannot be inspected: apt-get install qemu-utils util-linux",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ImageError(ImageErrorCode.LIMIT, "qemu-img did not come to an end") from error
    if done.returncode < 0 or done.returncode >= 128:
        raise ImageError(ImageErrorCode.LIMIT, "qemu-img was stopped at its limits")
    if done.returncode:
        raise ImageError(ImageErrorCode.FORMAT_MISMATCH, "qemu-img cannot read the image")
    if differences := _differences(json.loads(done.stdout), facts):
        raise ImageError(
            ImageErrorCode.FORMAT_MISMATCH, f"qemu-img sees the image differently: {differences}"
        )


def _differences(info: dict[str, Any], facts: ImageFacts) -> str:
    """In which points qemu-img's view is another one; empty if it is the same."""
    own = info.get("format-specific", {}).get("data", {})
    wrong = {
        "format": info.get("format") != facts.format,
        "virtual size": info.get("virtual-size") != facts.virtual_size_bytes,
        "backing file": any(key.endswith("backing-filename") for key in info),
        "data file": "data-file" in own or bool(own.get("data-file-raw")),
        "encryption": bool(info.get("encrypted")) or "encrypt" in own,
        "snapshots": bool(info.get("snapshots")),
        "corruption": bool(own.get("corrupt")),
    }
    return ", ".join(name for name, is_wrong in wrong.items() if is_wrong)
