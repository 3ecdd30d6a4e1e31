"""One layout for the whole file, brought together from what its columns say; what does not agree is text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
import pyarrow as pa

from mlops.layout import Layout
from mlops.schema import Column
from pipelines.canonical import typed
from pipelines.new_usecase.guesses import Guess

__all__ = ["agree"]

_TRUE, _FALSE = {"1", "true", "1.0"}, {"0", "false", "0.0"}


def agree(
    guesses: Mapping[str, Guess], first: Guess, time: Guess | None, layout: Layout
) -> tuple[dict[str, Guess], Layout]:
    """The columns as the returned layout lets them be read, and that layout, without names of columns.

    Args:
        first: the target; its words for true and false win.
        time: the events' time, if there is one; how it is written wins.
        layout: what is known of the whole file already.
    """
    pattern = _pattern(guesses, time)
    true, false = _lower(first.layout.true), _lower(first.layout.false)
    agreed = {}
    for header, guess in guesses.items():
        if guess.header == first.header:
            agreed[header] = first
            continue
        if guess.also == pattern and pattern:
            guess = _retimed(guess, pattern)
        if guess.type == "boolean" and not (pa.types.is_boolean(guess.raw.type) or _is_float(guess)):
            own_true, own_false = _lower(guess.layout.true) or _TRUE, _lower(guess.layout.false) or _FALSE
            if own_true & false or own_false & true:
                guess = guess.as_text()
            else:
                true, false = true | _lower(guess.layout.true), false | _lower(guess.layout.false)
        agreed[header] = guess
    return agreed, msgspec.structs.replace(
        layout, time=pattern, true=tuple(sorted(true)), false=tuple(sorted(false))
    )


def _lower(words: tuple[str, ...]) -> set[str]:
    return {word.lower() for word in words}


def _is_float(guess: Guess) -> bool:
    return bool(pa.types.is_floating(guess.raw.type))


def _pattern(guesses: Mapping[str, Guess], time: Guess | None) -> str:
    """How times are written in text: the events' times, else most columns, those first that leave no doubt."""
    if time is not None and time.layout.time:
        return time.layout.time
    texts = [g for g in guesses.values() if g.type == "timestamp" and pa.types.is_string(g.raw.type)]
    if time is not None and time.header in {g.header for g in texts}:
        return ""
    sure = Counter(g.layout.time for g in texts if not g.also) or Counter(g.layout.time for g in texts)
    return sure.most_common(1)[0][0] if sure else ""


def _retimed(guess: Guess, pattern: str) -> Guess:
    layout = msgspec.structs.replace(guess.layout, time=pattern)
    values = typed(Column(name="x", type="timestamp"), guess.raw, layout).cast(pa.timestamp("us"))
    return msgspec.structs.replace(guess, values=values, layout=layout, also=guess.layout.time)
