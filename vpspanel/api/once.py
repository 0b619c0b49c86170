"""`Idempotency-Key`: what was asked with one key happens once, and is answered once and again.

The key, what is done and the answer are one transaction. Of two requests that
come at once, the second waits for the first and then gets its answer; if the
process dies in between, neither the key nor what it was for is left. A refusal
uses no key up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from django.db import IntegrityError, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.accounts.models import ApiToken, StoredAnswer
from vpspanel.errors import Refused
from vpspanel.sealing import seal, unseal

HEADER, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
KEY_LENGTH = 255


def answer_once(request: Request, token: ApiToken, act: Callable[[], Response]) -> Response:
    """What `act` answers, or what it answered to the same key before.

    Raises `Refused("idempotency_key_reused")` if that was another request.
    """
    key = request.headers.get(HEADER, "")
    if not key:
        return act()
    if len(key) > KEY_LENGTH or not key.isprintable():
        message = f"An idempotency key has up to {KEY_LENGTH} printable characters."
        raise Refused("invalid_input", message, field=HEADER)
    asked = _hash(request, token)
    with transaction.atomic():
        try:
            with transaction.atomic():
                row = StoredAnswer.objects.create(token=token, key=key, request_hash=asked)
        except IntegrityError:
            return _again(token, key, asked)
        response = act()
        StoredAnswer.objects.filter(pk=row.pk).update(
            status=response.status_code, body_sealed=seal(json.dumps(response.data))
        )
    return response


def _again(token: ApiToken, key: str, asked: str) -> Response:
    known = StoredAnswer.objects.filter(token=token, key=key).first()
    if known is None:
        raise Refused("conflict", "The token or its key vanished at this moment. Please try again.")
    if known.request_hash != asked:
        raise Refused("idempotency_key_reused", "This key was used for a different request.")
    body = json.loads(unseal(bytes(known.body_sealed))) if known.body_sealed else None
    return Response(body, known.status, headers={REPLAYED: "true"})


def _hash(request: Request, token: ApiToken) -> str:
    """What was asked, whatever the order of its fields, and in which project."""
    where = [] if token.account_id is None else [token.project_id]
    asked = json.dumps([request.method, request.path, request.data, *where], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()
