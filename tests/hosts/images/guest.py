"""A guest under plain QEMU without libvirt: what an image does by itself."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAC = "52:54:00:12:34:56"
# BusyBox's login throws away what was typed before it is done with asking.
AFTER_THE_PROMPT = 2.0


class Guest:
    """A running QEMU. Its serial port is a pair of pipes, its monitor a QMP socket."""

    def __init__(self, folder: Path, disk: Path, seed: Path, memory_mib: int) -> None:
        self.started = time.monotonic()
        self.said = b""
        with socket.socket() as probe:  # a free port for the guest's SSH
            probe.bind(("127.0.0.1", 0))
            self.ssh_port: int = probe.getsockname()[1]
        self.monitor = folder / "qmp"
        self.monitor.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max"),
                *("-m", str(memory_mib), "-display", "none", "-vga", "std", "-nodefaults"),
                *("-serial", "stdio", "-qmp", f"unix:{self.monitor},server=on,wait=off"),
                *("-drive", f"file={disk},if=virtio,format=qcow2"),
                *("-drive", f"file={seed},if=virtio,format=raw,readonly=on"),
                *("-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22"),
                *("-device", f"virtio-net-pci,netdev=n,mac={MAC}", "-device", "virtio-rng-pci"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def age(self) -> float:
        return time.monotonic() - self.started

    def cpu_seconds(self) -> float:
        """Processor time of the whole QEMU: how long it would have taken on an idle machine."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_for(self, text: str, seconds: float) -> str:
        """What the serial port said up to and with `text`. Fails with all that was said."""
        assert self.process.stdout
        deadline = time.monotonic() + seconds
        wanted = text.encode()
        while wanted not in self.said:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            piece = self.process.stdout.read(65536) if ready else b""
            if not piece:
                raise AssertionError(f"no {text!r}: {self.said.decode(errors='replace')!r}")
            self.said += piece
        before, self.said = self.said.split(wanted, 1)
        return before.decode(errors="replace") + text

    def type(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")

    def log_in(self, password: str, seconds: float = 20) -> None:
        self.type("root")
        self.wait_for("assword:", seconds)
        time.sleep(AFTER_THE_PROMPT)
        self.type(password)
        self.wait_for("# ", seconds)

    def shell(self, command: str, seconds: float = 15) -> str:
        """What a command prints at the root prompt, without the echo of the line itself."""
        self.type(f"{command}; echo E''ND")
        self.wait_for("E''ND\r\n", seconds)
        answer = self.wait_for("END\r\n", seconds).removesuffix("END\r\n")
        self.wait_for("# ", seconds)  # what is typed before the prompt would be echoed twice
        return answer.replace("\r", "").strip()

    def wait_for_ssh(self, seconds: float) -> float:
        """Returns the guest's age when its SSH server first said its name."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.socket() as client:
                client.settimeout(2)
                client.connect(("127.0.0.1", self.ssh_port))
                if client.recv(4) == b"SSH-":
                    return self.age()
            time.sleep(0.1)
        raise AssertionError(f"no SSH within {seconds} s")

    def qmp(self, command: str) -> None:
        """Sends one monitor command."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(5)
            monitor.connect(str(self.monitor))
            stream = monitor.makefile("rwb")
            for name in ("qmp_capabilities", command):
                stream.write(json.dumps({"execute": name}).encode() + b"\n")
                stream.flush()
                answer: dict[str, Any] = {}
                while "return" not in answer:
                    answer = json.loads(stream.readline())
                    assert "error" not in answer, answer

    def seconds_until_off(self, limit: float) -> float:
        """How long QEMU still ran. Raises TimeoutExpired after `limit` seconds."""
        began = time.monotonic()
        self.process.communicate(timeout=limit)
        return time.monotonic() - began


@contextlib.contextmanager
def running(folder: Path, disk: Path, seed: Path, memory_mib: int = 128) -> Iterator[Guest]:
    """A guest that is gone afterwards."""
    guest = Guest(folder, disk, seed, memory_mib)
    try:
        yield guest
    finally:
        guest.process.kill()
        guest.process.wait()


def overlay(folder: Path, base: Path, size: str) -> Path:
    """A disk of its own for one guest, on top of an image."""
    disk = folder / "disk.qcow2"
    options = ["-f", "qcow2", "-b", str(base), "-F", "qcow2"]
    subprocess.run(["qemu-img", "create", "-q", *options, str(disk), size], check=True)
    return disk
