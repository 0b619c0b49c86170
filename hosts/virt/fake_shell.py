"""What a simulated guest says on its serial port: boot messages, a login, a tiny shell.

Pure: bytes in, bytes out. What the guest is to do (`poweroff`, `reboot`) is
left in `request` for the console to carry out.
"""

from __future__ import annotations

import re
import shlex
import time
from datetime import UTC, datetime

LABEL = "*** SIMULATED CONSOLE: this guest exists only in the panel's simulated host ***"
KERNEL = "6.1.0-simulated"
LINE_LIMIT = 1024

HELP = """\
This shell is simulated. It knows:
  help, echo TEXT, uname [-a], hostname, whoami, date, uptime, clear
  yes [TEXT]   until Ctrl-C
  exit         log out
  reboot       restart this simulated guest
  poweroff     stop this simulated guest
"""

_ESCAPE = re.compile(rb"\x1b(\[[0-9;?]*[@-~]|O.|.)?", re.DOTALL)


def boot_messages(hostname: str, tty: str = "ttyS0") -> list[tuple[float, str]]:
    """What a guest writes while it boots, with the seconds after which it does."""
    return [
        (0.0, f"\r\n{LABEL}\r\n"),
        (0.1, f"[    0.000000] Linux version {KERNEL} (vpspanel@simulator)\r\n"),
        (0.2, "[    0.104211] Memory: all of it simulated\r\n"),
        (0.4, "[    0.391774] virtio_blk virtio1: [vda] simulated disk\r\n"),
        (0.6, "[    0.602950] EXT4-fs (vda1): mounted filesystem\r\n"),
        (0.8, f"[    0.811322] Set hostname to <{hostname}>\r\n"),
        (1.0, f"\r\nSimulated Linux {hostname} {tty}\r\n\r\n"),
        (1.0, f"{hostname} login: "),
    ]


class FakeShell:
    """One terminal line on a guest, from power-on to power-off."""

    def __init__(self, hostname: str, booted_at: float, *, line: str = "ttyS0") -> None:
        self.request = ""  # "poweroff" or "reboot" once the guest was told to
        self.repeating = b""  # what `yes` writes again and again
        self._hostname = hostname
        self._tty = line
        self._boot(booted_at)

    # --- booting ------------------------------------------------------------------

    def _boot(self, booted_at: float) -> None:
        self._booted_at = booted_at
        self._user: str | None = None
        self._line = bytearray()
        self._messages = boot_messages(self._hostname, self._tty)

    def reboot(self, booted_at: float) -> None:
        """The guest started again: whoever was logged in is not any more."""
        self.request, self.repeating = "", b""
        self._boot(booted_at)

    def tick(self) -> bytes:
        """Boot messages whose time has come."""
        out = []
        while self._messages and self._booted_at + self._messages[0][0] <= time.time():
            out.append(self._messages.pop(0)[1])
        return "".join(out).encode()

    # --- typing -------------------------------------------------------------------

    def feed(self, data: bytes) -> bytes:
        """What the terminal shows after `data` was typed."""
        out = bytearray()
        for byte in _ESCAPE.sub(b"", data):
            if not self._messages and not self.request:
                out += self._key(byte)  # else nobody reads: the system boots or stops
        return bytes(out)

    def _key(self, byte: int) -> bytes:
        if byte == 0x03:
            self.repeating = b""
            self._line.clear()
            return b"^C\r\n" + self._prompt()
        if self.repeating:
            return b""
        if byte in (0x0A, 0x0D):
            line = self._line.decode(errors="replace")
            self._line.clear()
            return b"\r\n" + self._enter(line)
        if byte in (0x08, 0x7F):
            return self._erase(1)
        if byte == 0x15:
            return self._erase(len(self._line))
        if byte == 0x04 and not self._line and self._user is not None:
            return b"\r\n" + self._enter("exit")
        if byte < 0x20 or len(self._line) >= LINE_LIMIT:
            return b""
        self._line.append(byte)
        return bytes([byte])

    def _erase(self, count: int) -> bytes:
        """Take `count` characters off the line; one may be several bytes of UTF-8."""
        text = self._line.decode(errors="replace")
        gone = min(count, len(text))
        self._line = bytearray(text[: len(text) - gone].encode())
        return b"\b \b" * gone

    def _prompt(self) -> bytes:
        if self._user is None:
            return f"{self._hostname} login: ".encode()
        return f"{self._user}@{self._hostname}:~{'#' if self._user == 'root' else '$'} ".encode()

    # --- understanding --------------------------------------------------------------

    def _enter(self, line: str) -> bytes:
        if self._user is None:
            return self._login(line.strip())
        try:
            words = shlex.split(line)
        except ValueError:
            words = line.split()
        text = self._run(words[0], words[1:]) if words else ""
        prompt = b"" if self.repeating or self.request else self._prompt()
        return text.replace("\n", "\r\n").encode() + prompt

    def _login(self, user: str) -> bytes:
        if user:
            self._user = user[:32]
            hint = "Welcome. This is a simulation: no password is asked. Type help.\r\n"
            return hint.encode() + self._prompt()
        return self._prompt()

    def _run(self, command: str, words: list[str]) -> str:
        """The output of one command line."""
        uptime = max(0, int(time.time() - self._booted_at))
        answers = {
            "help": HELP,
            "echo": " ".join(words) + "\n",
            "uname": f"Linux {self._hostname} {KERNEL} #1 SMP x86_64 GNU/Linux (simulated)\n"
            if words == ["-a"]
            else "Linux\n",
            "hostname": f"{self._hostname}\n",
            "whoami": f"{self._user}\n",
            "date": datetime.now(UTC).strftime("%a %b %e %H:%M:%S UTC %Y\n"),
            "uptime": f"up {uptime // 60} min {uptime % 60} s, 1 user (simulated)\n",
            "clear": "\x1b[H\x1b[2J",
        }
        if command in answers:
            return answers[command]
        if command in ("poweroff", "reboot"):
            self.request = command
            return f"The system will {command} now (simulated).\n"
        if command == "yes":
            self.repeating = (" ".join(words) or "y").encode() + b"\r\n"
            return ""
        if command in ("exit", "logout"):
            self._user = None
            return ""
        return f"-sh: {command}: not found (this shell is simulated; type help)\n"
