"""One foreground supervisor for a whole panel on one machine.

It opens the listening socket, starts the parts as children, passes their
output on, starts again what dies, and ends them with itself: each child dies
with it even if it is killed. Guests belong to libvirt and go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before a part that died starts again
STEADY = 30.0  # a part that ran this long (seconds) is forgiven its past
GRACE = 6.0  # seconds between SIGTERM and SIGKILL
TRIES_BEFORE_READY = 3
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """One child process: its name on the output, its command, what it adds to the environment."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    once: bool = False  # a piece of work that ends: not started again, nobody waits for it


def _die_with(parent: int) -> Callable[[], None]:
    """What a child runs before it executes its command: the kernel kills it when `parent` ends."""

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return prepare


class Supervisor:
    """Runs `parts` until a signal; `ready` is awaited once and its text printed."""

    def __init__(self, parts: list[Part], ready: Callable[[], str | None], say: Say):
        self._parts = parts
        self._ready = ready
        self._say = say
        self._ending = asyncio.Event()
        self._is_ready = False
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._failure: str | None = None

    async def run(self) -> int:
        """0 after a signal, 1 if a part never came up. No child is left in either case."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        tasks = [asyncio.create_task(self._keep(part)) for part in self._parts]
        tasks.append(asyncio.create_task(self._announce()))
        await self._ending.wait()
        await self._end_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failure:
            self._say(self._failure)
            return 1
        self._say("The panel has stopped. Servers on the hosts go on.")
        return 0

    def _on_signal(self) -> None:
        if self._ending.is_set():  # asked twice: no more patience
            self._signal_all(signal.SIGKILL)
            return
        self._say("Stopping the panel …")
        self._ending.set()

    async def _keep(self, part: Part) -> None:
        wait, tries = FIRST_WAIT, 0
        while not self._ending.is_set():
            started = time.monotonic()
            code = await self._run_once(part)
            if self._ending.is_set() or part.once:
                return
            tries += 1
            if not self._is_ready and tries >= TRIES_BEFORE_READY:
                self._failure = f"{part.name} does not start; its last lines above say why."
                self._ending.set()
                return
            if time.monotonic() - started > STEADY:
                wait = FIRST_WAIT
            self._say(f"{part.name} {_how_it_ended(code)}; starting it again in {wait:g} s")
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _run_once(self, part: Part) -> int:
        """Start the part and copy its output until it ends; its exit code."""
        process = await asyncio.create_subprocess_exec(
            *part.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **part.environment, "PYTHONUNBUFFERED": "1"},
            pass_fds=part.pass_fds,
            process_group=0,  # a Ctrl-C reaches this process only, which then ends them in turn
            preexec_fn=_die_with(os.getpid()),
            limit=1024 * 1024,
        )
        self._running[part.name] = process
        if process.stdout is not None:
            await self._copy(part.name, process.stdout)
        code = await process.wait()
        self._running.pop(part.name, None)
        return code

    async def _copy(self, name: str, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the limit: the reader has dropped it
                line = b"(a line too long to show)\n"
            if not line:
                return
            self._say(f"{name:<7} │ {line.decode(errors='replace').rstrip()}")

    async def _announce(self) -> None:
        while not self._ending.is_set():
            text = await asyncio.to_thread(self._ready)
            if text is not None:
                self._is_ready = True
                self._say(text)
                return
            await asyncio.sleep(0.1)

    async def _end_all(self) -> None:
        self._signal_all(signal.SIGTERM)
        waits = [process.wait() for process in list(self._running.values())]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await asyncio.gather(*waits)
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in list(self._running.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def parts(
    listener: socket.socket, web_environment: Mapping[str, str], *, builds: bool = False
) -> list[Part]:
    """The three parts of a panel on one machine, and if asked the build of missing images."""
    manage = (sys.executable, "manage.py")
    fd = listener.fileno()
    build = Part("images", (*manage, "image_build", "--missing", "--background"), once=True)
    return [
        Part("web", (*manage, "web", "--fd", str(fd)), web_environment, (fd,)),
        Part("worker", (*manage, "worker")),
        Part("monitor", (*manage, "monitor")),
        *([build] if builds else []),
    ]
