"""What the panel of the client tests adds to itself: a file with a line for each answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from django.http import HttpRequest
from django.http.response import HttpResponseBase

NOTES_IN = "CLIENTS_NOTES"  # the environment's name for that file


class NoteAnswers:
    """The line is there before the answer is, so whoever has an answer finds it noted."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]):
        self.get_response = get_response
        self._file = Path(os.environ[NOTES_IN])

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        with self._file.open("a") as notes:
            notes.write(f"{response.status_code} {request.method} {request.path}\n")
        return response
