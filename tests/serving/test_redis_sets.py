"""Members sort as their keys do, and the end of a set with what was written over it is what a table would hold."""

from __future__ import annotations

from bisect import bisect_left
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from serving.redis_sets import Tail, Written, after, ended, escaped, parted

keys = st.binary(max_size=4) | st.text("\x00\x01ÿ", max_size=4).map(str.encode)


@given(keys, keys, st.binary(max_size=3), st.binary(max_size=3))
def test_members_sort_as_keys_and_can_be_taken_apart(one: bytes, other: bytes, a: bytes, b: bytes) -> None:
    assert parted(ended(one) + a) == (one, a)
    if one != other:
        assert (ended(one) + a < ended(other) + b) == (one < other)
        assert (ended(one) + a < ended(other)) == (one < other)
    assert ended(one) + a >= ended(one)
    assert (ended(one) + a).startswith(escaped(other)) == one.startswith(other)


@given(keys, keys)
def test_what_begins_with_a_prefix_lies_between_it_and_what_comes_after(prefix: bytes, key: bytes) -> None:
    end = after(prefix)
    assert key.startswith(prefix) == (prefix <= key and (not end or key < end))


@given(
    st.dictionaries(keys, st.binary(max_size=2), max_size=9),
    st.dictionaries(keys, st.none() | st.binary(max_size=2), max_size=5),
    st.tuples(keys, keys).map(sorted).filter(lambda span: span[1]),  # an empty end is none
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_the_end_of_a_set_answers_for_the_whole_or_not_at_all(
    stored: dict[bytes, bytes],
    changes: dict[bytes, bytes | None],
    span: list[bytes],
    limit: int,
    page: int,
) -> None:
    order = sorted(stored)
    start, end = span
    inside = order[bisect_left(order, start) : bisect_left(order, end)]
    with patch("serving.redis_sets.PAGE", page):
        tail = Tail([ended(key) + stored[key] for key in order[::-1][:page]])
        back, onward = tail.back(start, end, limit), tail.onward(start, end, limit)
    assert back is None or back == [(key, stored[key]) for key in inside[::-1][:limit]]
    assert onward is None or onward == [(key, stored[key]) for key in inside[:limit]]
    assert len(order) >= page or (back is not None and onward is not None)

    written = Written()
    for key, value in changes.items():
        written.set(key, value)
    merged = {key: value for key, value in (stored | changes).items() if start <= key < end}
    expected = sorted((key, value) for key, value in merged.items() if value is not None)
    assert written.over([(key, stored[key]) for key in inside], start, end) == expected
    members = {ended(key) + value for key, value in stored.items()}
    spans, new = written.changes()
    left = {member for member in members if not any(low <= member < high for low, high in spans)}
    assert left | set(new) == {
        ended(key) + value for key, value in (stored | changes).items() if value is not None
    }
