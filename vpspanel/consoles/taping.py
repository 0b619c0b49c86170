"""Whether a serial line is being recorded: by whom, since when, until what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vpspanel.consoles.recorder import SECONDS_LIMIT, Recorder, Size, Tape
from vpspanel.events.actor import Actor

USUAL: Size = (80, 24)  # what a guest on a serial line believes to have


class Taping:
    """One line's recorder, while there is one. `began` and `ended` are told of each."""

    def __init__(self, began: Callable[[Actor], None], ended: Callable[[Tape], None]) -> None:
        self.size = USUAL
        self._began = began
        self._ended = ended
        self._recorder: Recorder | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def by(self) -> str:
        """Whose recording runs; "" if none does."""
        return self._recorder.actor.name if self._recorder is not None else ""

    @property
    def by_staff(self) -> bool:
        """Whether one runs because staff look."""
        return self._recorder is not None and self._recorder.by_staff

    def start(self, actor: Actor, *, by_staff: bool = False) -> bool:
        """Record from now on; False if that is so already."""
        if self._recorder is not None:
            return False
        self._recorder = Recorder(actor, self.size, by_staff=by_staff)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SECONDS_LIMIT, self.stop, "It had lasted an hour.")
        self._began(actor)
        return True

    def stop(self, why: str) -> None:
        """It ends, if there is one."""
        recorder, self._recorder = self._recorder, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if recorder is not None:
            self._ended(recorder.finish(why))

    def output(self, data: bytes) -> None:
        """The server wrote this."""
        if self._recorder is None:
            return
        self._recorder.output(data)
        if full := self._recorder.full:
            self.stop(full)

    def mark(self, label: str) -> None:
        """Something happened beside the output."""
        if self._recorder is not None:
            self._recorder.mark(label)

    def resize(self, size: Size) -> None:
        """The window of who types has this size now."""
        if size != self.size and self._recorder is not None:
            self._recorder.resize(size)
        self.size = size
