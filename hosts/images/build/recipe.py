"""What every local image build shares: result, progress, lock, cache, and running a program."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from hosts.images.errors import ImageError, ImageErrorCode

#: Called with the name of the step that begins and how far the whole build is, in percent.
Progress = Callable[[str, int], None]

#: A fixed time stamp (2024-01-01) for files inside images, so that equal inputs give equal bytes.
EPOCH = 1_704_067_200

STEP_SECONDS = 900


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltImage:
    """A finished image file. `path` never changes: its name carries the recipe's hash."""

    name: str
    path: Path
    sha256: str
    format: str
    size_bytes: int
    virtual_size_bytes: int
    kernel: str
    packages: Mapping[str, str]  # name -> version of what is inside


class Builder(Protocol):
    """What every builder looks like."""

    def __call__(
        self, workdir: Path, progress: Progress = ..., *, refresh: bool = False
    ) -> BuiltImage: ...


def no_progress(step: str, percent: int) -> None:
    """A `Progress` for callers that do not watch."""


def need_programs(packages: Mapping[str, str], *, grub: Path) -> None:
    """`packages` maps a program to the Debian package that brings it; `grub` is GRUB's folder.

    Raises ImageError(MISSING_PACKAGE) naming every package that is missing, not just the first.
    """
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = {
        package for program, package in packages.items() if not shutil.which(program, path=search)
    }
    if not (grub / "boot.img").exists():
        missing.add("grub-pc-bin")
    if missing:
        raise ImageError(
            ImageErrorCode.MISSING_PACKAGE,
            f"this machine lacks what the build needs: apt-get install {' '.join(sorted(missing))}",
        )


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> bytes:
    """Standard output of a program. Raises ImageError(BUILD_FAILED) with its last words."""
    environment = {
        **os.environ,
        "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "DEBIAN_FRONTEND": "noninteractive",
        **(env or {}),
    }
    program = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=STEP_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise ImageError(
            ImageErrorCode.MISSING_PACKAGE, f"the program {program} is missing"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ImageError(
            ImageErrorCode.BUILD_FAILED, f"{program} did not end within {STEP_SECONDS} s"
        ) from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-5:]
        code = ImageErrorCode.BUILD_FAILED
        if os.strerror(errno.ENOSPC) in " ".join(words):
            code = ImageErrorCode.DISK_FULL
        raise ImageError(code, f"{program} failed with {done.returncode}: {' | '.join(words)}")
    return done.stdout


@contextmanager
def build_lock(workdir: Path, name: str) -> Iterator[None]:
    """Holds the only right to build `name` in `workdir`; others wait. Freed when a builder dies."""
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / f".{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def recipe_key(*folders_and_files: Path) -> str:
    """Twelve hex digits that change when any of these files changes."""
    digest = hashlib.sha256()
    for root in folders_and_files:
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for file in files:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def cached_image(workdir: Path, name: str, key: str) -> BuiltImage | None:
    """The finished image of this recipe, or None. Looks at the file's size, not at each byte."""
    manifest = workdir / f"{name}-{key}.json"
    try:
        facts = json.loads(manifest.read_text())
        image = BuiltImage(**{**facts, "path": workdir / f"{name}-{key}.qcow2"})
        return image if image.path.stat().st_size == image.size_bytes else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def publish_image(
    image: Path, workdir: Path, name: str, key: str, *, kernel: str, packages: Mapping[str, str]
) -> BuiltImage:
    """Moves a finished qcow2 into place and writes its manifest, in that order, atomically."""
    info = json.loads(run(["qemu-img", "info", "-f", "qcow2", "--output=json", image]))
    with image.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        os.fsync(handle.fileno())
    built = BuiltImage(
        name=name,
        path=workdir / f"{name}-{key}.qcow2",
        sha256=digest,
        format="qcow2",
        size_bytes=image.stat().st_size,
        virtual_size_bytes=int(info["virtual-size"]),
        kernel=kernel,
        packages=dict(sorted(packages.items())),
    )
    image.replace(built.path)
    facts = {**dataclasses.asdict(built), "path": built.path.name}
    draft = workdir / f".{name}-{key}.json"
    draft.write_text(json.dumps(facts, indent=1) + "\n")
    draft.replace(workdir / f"{name}-{key}.json")
    return built


@contextmanager
def scratch(workdir: Path, name: str) -> Iterator[Path]:
    """An empty folder for half-made files; it is gone afterwards, whatever happens.

    Only the holder of the build lock may call this: it also sweeps what a killed build left.
    """
    folder = workdir / f".{name}.build"
    _sweep(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove it. Raises ImageError(STORAGE) rather than walk into what is mounted inside."""
    inside = f"{folder.resolve()}/"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount_point = line.split()[4]
        if f"{mount_point}/".startswith(inside):
            raise ImageError(
                ImageErrorCode.STORAGE, f"{mount_point} is still mounted: umount it first"
            )
    shutil.rmtree(folder, ignore_errors=True)
