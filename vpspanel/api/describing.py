"""What an operation of the API takes and answers, said where it is written.

One decorator per operation. The fields are not repeated here: those of an answer
come from its TypedDict, those of a body from the class that checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vpspanel.api.bodies import Body
from vpspanel.api.listing import Meta

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Described:
    """One operation: `answer` has the type of each key, `filters` the words of each parameter.

    A parameter without words takes what its name says in `parameters.py`, else any text.
    Those that are `needed` must be given. `also` are other good answers, by status.
    """

    summary: str
    status: int = 200
    answer: Mapping[str, Any] = field(default_factory=dict)
    body: type[Body] | None = None
    paged: bool = False
    sort: tuple[str, ...] = ()
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    also: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


_described: dict[Callable[..., Any], Described] = {}


def answers(
    summary: str,
    *,
    status: int = 200,
    body: type[Body] | None = None,
    query: Mapping[str, Iterable[str]] | Iterable[str] = (),
    needed: Iterable[str] = (),
    also: Mapping[int, Mapping[str, Any]] | None = None,
    **fields: Any,
) -> Callable[[F], F]:
    """Describe an operation that answers with these keys; with none, with no content.

    `query` names its parameters, with the words that they take if there are any.
    """
    given = query if isinstance(query, Mapping) else dict.fromkeys(query, ())

    def keep(function: F) -> F:
        _described[function] = Described(
            summary,
            status,
            fields,
            body,
            filters={name: tuple(words) for name, words in given.items()},
            needed=tuple(needed),
            also=also or {},
        )
        return function

    return keep


def lists(
    summary: str,
    key: str,
    shape: Any,
    *,
    sort: Iterable[str] = (),
    filters: Mapping[str, Iterable[str]] | None = None,
    needed: Iterable[str] = (),
    paged: bool = True,
    **more: Any,
) -> Callable[[F], F]:
    """Describe a list of `shape` under `key`, with its orders and its query parameters.

    A filter without words takes what its name says. `more` are further keys of the answer.
    """
    words = {name: tuple(known) for name, known in (filters or {}).items()}

    def keep(function: F) -> F:
        answer = {key: list[shape], "meta": Meta, **more}
        _described[function] = Described(
            summary,
            answer=answer,
            paged=paged,
            sort=tuple(sort),
            filters=words,
            needed=tuple(needed),
        )
        return function

    return keep


def description_of(function: Callable[..., Any] | None) -> Described | None:
    """What was said of a function or method; None if nothing was."""
    if function is None:
        return None
    return _described.get(getattr(function, "__func__", function))
