"""The image library: catalogue entries become rows and files.

`hosts.images` fetches, inspects and builds files and knows no database; this
module gives it rows to report to. A row becomes available only after its file
was inspected and has the SHA-256 it is named by, and an available row stays
available, with its old file, while a newer one is made or fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from hosts.images.build import BUILDERS
from hosts.images.catalogue import CatalogueImage, Checksum, load_catalogue
from hosts.images.checksums import file_digest
from hosts.images.download import download_image
from hosts.images.errors import ImageError, ImageErrorCode
from hosts.images.inspect import inspect_image, inspect_iso
from hosts.images.web import check_url
from hosts.models import Image, ImageStatus, ImageType

MIB = 1024**2
PROGRESS_EVERY = 1.0  # seconds between two writes of a progress that moves
YOUNG = 3600.0  # seconds
DOWNLOADED, CHECKED = 95, 98  # percent of a fetch

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
SIMULATED = "simulated-"  # how the files begin that no real host may run

Say = Callable[[str], None]
Watch = Callable[[int, int | None], None]


# --- files --------------------------------------------------------------------


def image_dir() -> Path:
    """Where image files lie; made if missing."""
    path = Path(settings.IMAGE_DIR)
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


def image_path(image: Image) -> Path:
    """The file of an image. Raises `ImageError` if there is none inside the image directory."""
    root = image_dir().resolve()
    path = (root / image.file).resolve()
    if not image.file or not path.is_relative_to(root) or not path.is_file():
        raise ImageError(
            ImageErrorCode.STORAGE, f"The file of {image} is not in the image directory."
        )
    return path


def is_usable(image: Image) -> bool:
    """Whether it can be ordered and its file is there in full length. Does not read the file."""
    try:
        return (
            image.status == ImageStatus.AVAILABLE
            and image_path(image).stat().st_size == image.size_bytes
        )
    except ImageError:
        return False


@contextlib.contextmanager
def only_one(name: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the only right to make the file of image `name` on this machine.

    The kernel frees it when the process dies. Without `wait`, raises
    `BlockingIOError` if somebody else holds it.
    """
    with (image_dir() / f".{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


# --- the catalogue ------------------------------------------------------------


def sync_catalogue() -> list[Image]:
    """One row per system that can be fetched or built; returns them in the catalogue's order.

    Facts of the catalogue win; state and file of a row stay. Simulated images
    say that they are, and are left so. Raises `ImageError`.
    """
    rows = []
    simulated = set(Image.objects.filter(file__startswith=SIMULATED).values_list("name", flat=True))
    for entry in load_catalogue():
        if entry.slug in simulated:
            continue
        facts = {
            "type": ImageType.SYSTEM,
            "description": entry.name,
            "os_flavor": entry.os_flavor,
            "os_version": entry.os_version,
            "architecture": entry.architecture,
            "min_disk_gib": entry.min_disk_gib,
            "min_memory_mib": entry.min_memory_mib,
            "default_user": entry.default_user,
            "has_agent": entry.agent,
        }
        new = {**facts, "status": ImageStatus.UNAVAILABLE}
        row, _ = Image.objects.update_or_create(
            name=entry.slug, defaults=facts, create_defaults=new
        )
        rows.append(row)
    _settle_interrupted()
    return rows


def _settle_interrupted() -> None:
    """Nobody makes these any more: whoever began was killed."""
    for image in Image.objects.filter(
        type=ImageType.SYSTEM, status=ImageStatus.CREATING, name__isnull=False
    ):
        with contextlib.suppress(BlockingIOError), only_one(str(image.name), wait=False):
            Image.objects.filter(pk=image.pk, status=ImageStatus.CREATING).update(
                status=ImageStatus.UNAVAILABLE,
                progress=0,
                progress_step="",
                error="It was interrupted. Start it again.",
            )


def entry_for(name: str) -> CatalogueImage:
    """The catalogue's entry of that name, or the one that the builder `name` makes.

    Raises `ImageError`.
    """
    entries = load_catalogue()
    found = [entry for entry in entries if entry.slug == name]
    found += [entry for entry in entries if entry.build == name]
    if not found:
        raise ImageError(ImageErrorCode.CATALOGUE, f"The catalogue has no image {name}.")
    return found[0]


def build_entry(name: str) -> CatalogueImage:
    """The entry that is built here, by its own name or that of its builder. Raises `ImageError`."""
    for entry in load_catalogue():
        if entry.build in BUILDERS and name in (entry.slug, entry.build):
            return entry
    known = ", ".join(sorted(BUILDERS))
    raise ImageError(ImageErrorCode.CATALOGUE, f"{name} is not built here. Builders: {known}.")


def unbuilt() -> list[str]:
    """Slugs of what this machine can build and has not."""
    slugs = [entry.slug for entry in load_catalogue() if entry.build in BUILDERS]
    rows = {image.name: image for image in Image.objects.filter(name__in=slugs)}
    return [slug for slug in slugs if slug not in rows or not is_usable(rows[slug])]


# --- making files ---------------------------------------------------------------


class Reporter:
    """Writes the progress of one image to its row, at most once a second, and says each step."""

    def __init__(self, image: Image, say: Say | None = None) -> None:
        self._image = image
        self._say = say
        self._step = ""
        self._written = 0.0

    def __call__(self, step: str, percent: int, detail: str = "") -> None:
        """`percent` of the whole is done and `step` has begun or goes on."""
        now = time.monotonic()
        if step == self._step and now - self._written < PROGRESS_EVERY:
            return
        if step != self._step and self._say is not None:
            self._say(f"{self._image.name}: {step} ({percent} %)")
        self._step, self._written = step, now
        Image.objects.filter(pk=self._image.pk).update(
            progress=max(0, min(99, percent)), progress_step=f"{step} {detail}".strip()[:120]
        )

    def bytes(self, done: int, total: int | None) -> None:
        """A download's progress."""
        percent = done * DOWNLOADED // total if total else 0
        whole = f" of {total // MIB}" if total else ""
        self("Downloading", percent, f"{done // MIB}{whole} MiB")


def provide_image(name: str, *, say: Say | None = None) -> Image:
    """The image, built or fetched if it is not usable yet. Raises `ImageError`."""
    entry = entry_for(name)
    image = Image.objects.filter(name=entry.slug).first()
    if image is not None and is_usable(image):
        return image
    make = build_image if entry.build is not None else fetch_image
    return make(name, say=say)


def build_image(name: str, *, say: Say | None = None) -> Image:
    """Build the image on this machine and make it available. Raises `ImageError`."""
    entry = build_entry(name)
    image = _row(entry)
    with only_one(entry.slug), _reported(image):
        built = BUILDERS[str(entry.build)](image_dir() / "build", Reporter(image, say))
        _publish(image, built.path, sha256=built.sha256)
    return image


def fetch_image(name: str, *, say: Say | None = None) -> Image:
    """Fetch the image from its maker, if there is a newer one, and make it available.

    Raises `ImageError`.
    """
    entry = entry_for(name)
    if entry.url is None or entry.checksum is None:
        raise ImageError(
            ImageErrorCode.CATALOGUE,
            f"{name} is built here, not fetched: manage.py image_build {name}",
        )
    image = _row(entry)
    report = Reporter(image, say)
    with only_one(entry.slug), _reported(image):
        target = image_dir() / "downloads" / entry.slug
        found = download_image(entry.url, entry.checksum, target, progress=report.bytes)
        report("Checking", CHECKED)
        _publish(image, found.path, sha256=found.sha256)
    return image


def iso_row(name: str, url: str, sha256: str, *, description: str = "") -> Image:
    """The row of an ISO that is to be fetched; nothing is asked of anybody. Raises `ImageError`."""
    if not _NAME.fullmatch(name) or not _SHA256.fullmatch(sha256.strip().lower()):
        wrong = "A name has small letters, digits and hyphens, a SHA-256 has 64 hex digits."
        raise ImageError(ImageErrorCode.CATALOGUE, wrong)
    check_url(url)
    new = {"type": ImageType.ISO, "description": name, "status": ImageStatus.UNAVAILABLE}
    image, _ = Image.objects.get_or_create(name=name, defaults=new)
    if image.type != ImageType.ISO:
        raise ImageError(ImageErrorCode.CATALOGUE, f"{name} is an image, and no ISO.")
    if description:
        image.description = description[:200]
        image.save(update_fields=["description"])
    return image


def fetch_iso(
    name: str,
    url: str,
    sha256: str,
    *,
    description: str = "",
    say: Say | None = None,
    watch: Watch = lambda done, total: None,
) -> Image:
    """Fetch an ISO of that SHA-256 and make it available to all customers. Raises `ImageError`.

    One of that name that is there already is replaced once the new one is.
    `watch` is told the bytes; what it raises ends the download, which the next call goes on with.
    """
    image = iso_row(name, url, sha256, description=description)
    report = Reporter(image, say)

    def tell(done: int, total: int | None) -> None:
        watch(done, total)
        report.bytes(done, total)

    with only_one(name), _reported(image):
        target = image_dir() / "downloads" / f"{name}.iso"
        checksum = Checksum("", "sha256", "", sha256.strip().lower())
        found = download_image(url, checksum, target, progress=tell)
        report("Checking", CHECKED)
        _publish(image, found.path, sha256=found.sha256)
    return image


def _row(entry: CatalogueImage) -> Image:
    image = Image.objects.filter(name=entry.slug).first()
    return image or next(row for row in sync_catalogue() if row.name == entry.slug)


@contextlib.contextmanager
def _reported(image: Image) -> Iterator[None]:
    """Show the image as being made, and say why if it fails. A usable one stays usable."""
    image.refresh_from_db()
    usable = is_usable(image)
    row = Image.objects.filter(pk=image.pk)
    row.update(
        status=ImageStatus.AVAILABLE if usable else ImageStatus.CREATING,
        progress=0,
        progress_step="Starting",
        error="",
    )
    try:
        yield
    except BaseException as error:
        words = str(error) if isinstance(error, ImageError) else f"Stopped: {type(error).__name__}"
        row.update(
            status=ImageStatus.AVAILABLE if usable else ImageStatus.UNAVAILABLE,
            progress=100 if usable else 0,
            progress_step="",
            error=words[:500],
        )
        raise


def _publish(image: Image, path: Path, *, sha256: str) -> None:
    """Look into the file, give it the name of its checksum, and let it be ordered."""
    is_iso = image.type == ImageType.ISO
    facts = inspect_iso(path) if is_iso else inspect_image(path, expected_format="qcow2")
    if file_digest(path, "sha256") != sha256:
        raise ImageError(
            ImageErrorCode.CHECKSUM_MISMATCH, f"{path.name} is not the file that was made."
        )
    kept = image_dir() / "files" / f"{sha256}.{facts.format}"
    kept.parent.mkdir(exist_ok=True)
    if not kept.exists():
        os.link(path, kept)  # the same bytes under a name that never means others
    image.sha256 = sha256
    image.format = facts.format
    image.file = str(kept.relative_to(image_dir()))
    image.size_bytes = kept.stat().st_size
    image.virtual_size_bytes = facts.virtual_size_bytes
    image.status = ImageStatus.AVAILABLE
    image.progress, image.progress_step, image.error = 100, "", ""
    image.save(update_fields=PUBLISHED)
    _prune()


PUBLISHED = (
    "sha256",
    "format",
    "file",
    "size_bytes",
    "virtual_size_bytes",
    "status",
    "progress",
    "progress_step",
    "error",
)


def _prune() -> None:
    """Remove files that no row names any more. Hosts keep their copies; readers keep theirs open.

    A young file may be one whose row is just being written.
    """
    named = set(Image.objects.filter(~Q(file="")).values_list("file", flat=True))
    for path in (image_dir() / "files").iterdir():
        if f"files/{path.name}" not in named and time.time() - path.stat().st_ctime > YOUNG:
            path.unlink(missing_ok=True)
