"""How a step says that it is not done: four ways, sorted by what happens next."""

from __future__ import annotations


class StepError(Exception):
    """Base class. `message` is for the customer, `detail` for staff."""

    def __init__(self, code: str, message: str, *, detail: str = ""):
        super().__init__(f"{code}: {detail or message}")
        self.code = code
        self.message = message
        self.detail = detail


class Retry(StepError):
    """It may work later. Counted, with growing pauses; too many make it a `Fail`.

    With `patience` (seconds) it is not counted: the step is tried again every
    few seconds until it has failed for that long, and then the action is parked.
    """

    def __init__(self, code: str, message: str, *, detail: str = "", patience: float | None = None):
        super().__init__(code, message, detail=detail)
        self.patience = patience


class Fail(StepError):
    """It will never work: undo what was done and end."""


class Park(StepError):
    """Nobody but staff can say what to do: stop here, keep everything, show the reason."""


class Wait(Exception):
    """Not yet, and nothing is wrong: look again in `seconds`, or when somebody nudges."""

    def __init__(self, seconds: float, detail: str = ""):
        super().__init__(detail)
        self.seconds = seconds
        self.detail = detail


class Fenced(Exception):
    """Somebody else holds this action now: stop, write nothing."""
