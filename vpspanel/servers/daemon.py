"""Running a background process until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ASKED_TWICE = 130


def run_until_signal(run: Callable[[], None], stop: Callable[[], None]) -> None:
    """Call `run`; SIGTERM or SIGINT calls `stop`, a second one ends the process at once.

    When `run` has returned the process ends too, whatever threads are left: a
    call that a host never answers must not keep it alive.
    """
    asked = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            os._exit(ASKED_TWICE)
        asked.set()
        # In a thread: what `stop` locks may be held by the very code that was interrupted.
        threading.Thread(target=stop, name="stop", daemon=True).start()

    for number in SIGNALS:
        signal.signal(number, on_signal)
    run()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
