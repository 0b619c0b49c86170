"""The supervisor: it starts, starts again, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from tests import migrated
from vpspanel.listen import CannotListen, open_listener

SUPERVISE = """
import asyncio, pathlib, sys
from vpspanel.serve import Part, Supervisor
folder = pathlib.Path(sys.argv[1])
def ready():
    return "READY" if (folder / "go").exists() else None
def say(text):
    print(text, flush=True)
given = zip(sys.argv[2::2], sys.argv[3::2])
parts = [
    Part(name, (sys.executable, "-u", "-c", code), once=name == "images") for name, code in given
]
sys.exit(asyncio.run(Supervisor(parts, ready, say).run()))
"""
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
CRASH = "import sys; print('no such table'); sys.exit(3)"


class Running:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, parts: dict[str, str], *, ready: bool):
        if ready:
            (folder / "go").touch()
        arguments = [text for part in parts.items() for text in part]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(folder), *arguments],
            cwd=settings.BASE_DIR,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def read_until(self, words: str, count: int = 1) -> str:
        """The output up to the `count`-th line with `words` in it."""
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += str(line)
            if words in line:
                count -= 1
            if count == 0:
                return text
        raise AssertionError(f"it ended without saying {words!r}:\n{text}")

    def children(self) -> list[psutil.Process]:
        """Its direct children that live."""
        return psutil.Process(self.process.pid).children()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Running]]:
    """Ends what a test started."""
    running: list[Running] = []
    yield running
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def _gone(processes: list[psutil.Process], within: float) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=within)
    return not alive


def test_it_passes_output_on_by_name_and_says_when_it_is_ready(
    tmp_path: Path, started: list[Running]
) -> None:
    one = Running(tmp_path, {"web": SLEEP, "worker": SLEEP}, ready=True)
    started.append(one)
    text = one.read_until("up", 2)
    assert "web     │ up" in text
    assert "worker  │ up" in text
    if "READY" not in text:
        one.read_until("READY")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_parts(
    tmp_path: Path, started: list[Running], number: signal.Signals
) -> None:
    one = Running(tmp_path, {"web": SLEEP, "worker": SLEEP}, ready=True)
    started.append(one)
    one.read_until("up", 2)
    children = one.children()
    assert len(children) == 2
    begun = time.monotonic()
    one.process.send_signal(number)
    assert one.process.wait(10) == 0
    assert time.monotonic() - begun < 4
    assert _gone(children, 1)


def test_a_part_that_does_not_listen_is_killed_after_its_grace(
    tmp_path: Path, started: list[Running]
) -> None:
    one = Running(tmp_path, {"worker": STUBBORN}, ready=True)
    started.append(one)
    one.read_until("up")
    children = one.children()
    one.process.terminate()
    assert one.process.wait(10) == 0
    assert _gone(children, 1)


def test_asking_twice_ends_it_at_once(tmp_path: Path, started: list[Running]) -> None:
    one = Running(tmp_path, {"worker": STUBBORN}, ready=True)
    started.append(one)
    one.read_until("up")
    one.process.send_signal(signal.SIGINT)
    one.read_until("Stopping")
    begun = time.monotonic()
    one.process.send_signal(signal.SIGINT)
    one.process.wait(10)
    assert time.monotonic() - begun < 2


def test_no_part_survives_a_supervisor_that_was_killed(
    tmp_path: Path, started: list[Running]
) -> None:
    one = Running(tmp_path, {"web": SLEEP, "worker": STUBBORN}, ready=True)
    started.append(one)
    one.read_until("up", 2)
    children = one.children()
    one.process.kill()
    assert _gone(children, 3)


def test_a_part_that_dies_is_started_again(tmp_path: Path, started: list[Running]) -> None:
    one = Running(tmp_path, {"worker": SLEEP}, ready=True)
    started.append(one)
    one.read_until("up")
    (child,) = one.children()
    child.kill()
    text = one.read_until("up")
    assert "worker was ended by SIGKILL; starting it again in 0.5 s" in text
    assert one.children()[0].pid != child.pid


def test_work_that_ends_is_neither_repeated_nor_missed(
    tmp_path: Path, started: list[Running]
) -> None:
    one = Running(tmp_path, {"images": CRASH, "web": CRASH}, ready=True)
    started.append(one)
    text = one.read_until("again in", 3)
    assert text.count("images  │ no such table") == 1
    assert "images ended" not in text


def test_it_waits_longer_each_time(tmp_path: Path, started: list[Running]) -> None:
    one = Running(tmp_path, {"web": SLEEP, "worker": CRASH}, ready=True)
    started.append(one)
    text = one.read_until("again in", 3)
    waits = [line.rsplit(" in ", 1)[1] for line in text.splitlines() if "again in" in line]
    assert waits == ["0.5 s", "1 s", "2 s"]
    assert "worker  │ no such table" in text


def test_it_gives_up_if_a_part_never_comes_up(tmp_path: Path, started: list[Running]) -> None:
    one = Running(tmp_path, {"web": CRASH, "worker": SLEEP}, ready=False)
    started.append(one)
    text = one.read_until("does not start")
    assert "web     │ no such table" in text
    assert one.process.wait(10) == 1


# --- the listening socket -----------------------------------------------------------


def test_a_port_in_use_is_named_with_its_owner_and_a_way_out() -> None:
    with open_listener("127.0.0.1", _free_port()) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as caught:
            open_listener("127.0.0.1", port)
    assert f"Port {port} on 127.0.0.1 is in use by " in str(caught.value)
    assert f"process {os.getpid()}" in str(caught.value)
    assert f"PORT={port + 1}" in str(caught.value)


@pytest.mark.parametrize(
    ("bind", "port", "said"),
    [
        ("192.0.2.1", 8000, "does not have that address"),
        ("no such host", 8000, "not an address of this machine"),
        ("127.0.0.1", 0, "from 1 to 65535"),
        ("127.0.0.1", 70000, "from 1 to 65535"),
    ],
)
def test_an_impossible_address_says_what_to_do(bind: str, port: int, said: str) -> None:
    with pytest.raises(CannotListen, match=said):
        open_listener(bind, port)


def test_it_can_listen_on_all_addresses_and_on_version_6() -> None:
    for bind in ("0.0.0.0", "::1", "[::1]"):
        with open_listener(bind, _free_port()) as listener:
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


# --- the command itself ---------------------------------------------------------------


def _environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "vpspanel.settings",
        "VPSPANEL_ENV": "development",
        "VPSPANEL_DRIVER": "fake",
        "VPSPANEL_VAR": str(tmp_path / "var"),
        "EMAIL_URL": "consolemail://",
    }


def test_the_whole_panel_starts_says_where_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    port, env = _free_port(), _environment(tmp_path)
    manage = [sys.executable, "manage.py"]
    migrated.copy_to(tmp_path / "var" / "db.sqlite3")
    panel = subprocess.Popen(
        [*manage, "serve", "--port", str(port)],
        cwd=settings.BASE_DIR,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        assert panel.stdout is not None
        text = ""
        for line in panel.stdout:
            text += line
            if "The panel is ready" in line:
                break
        assert f"http://127.0.0.1:{port}/" in text
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/accounts/login/") as page:
            assert page.status == 200
        names = [child.cmdline()[2] for child in psutil.Process(panel.pid).children()]
        assert sorted(names) == ["monitor", "web", "worker"]
        children = psutil.Process(panel.pid).children(recursive=True)
        panel.send_signal(signal.SIGINT)
        rest = panel.communicate(timeout=15)[0]
    finally:
        panel.kill()
        panel.wait()
    assert "starting it again" not in text + rest
    assert panel.returncode == 0
    assert _gone(children, 1)


def test_it_does_not_serve_on_a_database_that_is_not_up_to_date(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", str(_free_port())],
        cwd=settings.BASE_DIR,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "run `manage.py migrate` first" in done.stderr
