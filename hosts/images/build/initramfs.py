"""The first file system of a Linux guest: a cpio archive ("newc") with the modules it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hosts.images.errors import ImageError, ImageErrorCode


def module_files(root: Path) -> dict[str, Path]:
    """Module name (with underscores) -> file, for an unpacked kernel package."""
    return {
        file.name.removesuffix(".ko").replace("-", "_"): file
        for file in sorted((root / "lib/modules").rglob("*.ko"))
    }


def load_order(wanted: Iterable[str], files: Mapping[str, Path]) -> list[str]:
    """The modules and all that they depend on, in the order in which insmod must see them.

    Raises ImageError(BUILD_FAILED) if the kernel has no such module.
    """
    order: list[str] = []
    for name in wanted:
        if name not in files:
            raise ImageError(ImageErrorCode.BUILD_FAILED, f"the kernel has no module {name}")
        # Each module names its needs in its own .modinfo section.
        found = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
        needs = found.group(1).decode().replace("-", "_").split(",") if found else []
        for module in [*load_order(filter(None, needs), files), name]:
            if module not in order:
                order.append(module)
    return order


def cpio_archive(entries: Mapping[str, bytes | str | None], executable: Iterable[str]) -> bytes:
    """An initramfs. A value is a file's bytes, a link's target (str) or None for a folder.

    Folders must come before what is in them. Owners are root, times are zero.
    """
    programs = set(executable)
    archive = bytearray()
    for number, (path, content) in enumerate(entries.items(), start=1):
        if content is None:
            mode, data = 0o040755, b""
        elif isinstance(content, str):
            mode, data = 0o120777, content.encode()
        else:
            mode, data = 0o100755 if path in programs else 0o100644, content
        _append(archive, number, path, mode, data)
    _append(archive, 0, "TRAILER!!!", 0, b"")
    return bytes(archive)


def _append(archive: bytearray, inode: int, path: str, mode: int, data: bytes) -> None:
    name = path.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name
    archive += bytes(-len(archive) % 4) + data
    archive += bytes(-len(archive) % 4)
