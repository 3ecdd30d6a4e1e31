"""Send past events to a running server in their order, and each label when it is due by the events' own time.

Labels go ahead of the events that may see them: before a batch of events is sent, so are all labels known by the
batch's last event time. Events that have no time are sent as they stand in the files, and their labels after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from mlops.errors import InputError, SetupError
from mlops.layout import Layout
from mlops.schema import EventSchema, Label
from pipelines.canonical import read_events

__all__ = ["Recording", "ReplayResult", "replay"]

MAX_BATCH = 100
_LABEL_BATCH = 1000


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent. `failed` requests are listed in `errors`, the first few in words."""

    requests: int
    failed: int
    events: int
    labels: int
    errors: tuple[str, ...] = ()


class Recording:
    """What happened in the outside world: event files as validation reads them, with labels if they have them.

    Args:
        sources: Parquet and CSV files, or folders of them.
        layout: theirs, if it is none of the schema's.

    Raises:
        InputError: there are none, or one cannot be read: see `read_events`.
    """

    def __init__(
        self, sources: Sequence[Path], schema: EventSchema, label: Label, layout: Layout | None = None
    ) -> None:
        if not sources:
            raise InputError("no event files to replay")
        self.schema, self.label = schema, label
        table = read_events(sources, schema, label, layout)
        order = [(schema.time, "ascending"), (schema.id, "ascending")]
        self.table = table.sort_by(order) if schema.time else table

    @property
    def extent(self) -> str:
        """The days of the first and the last event, in words; for events with a time."""
        time = pc.min_max(self.table[self.schema.time]).as_py()
        return f"{time['min']:%Y-%m-%d} to {time['max']:%Y-%m-%d}" if len(self.table) else "none at all"

    def between(self, begin: datetime, end: datetime) -> pa.Table:
        """Events with begin ≤ event time < end, in order."""
        time = self.table[self.schema.time]
        return self.table.filter(
            pc.and_(pc.greater_equal(time, pa.scalar(begin)), pc.less(time, pa.scalar(end)))
        )

    def requests(self, table: pa.Table) -> list[dict[str, Any]]:
        """The rows as the server takes them: without the label and its details, times as ISO 8601 text."""
        unknown = [name for name in self.label.columns if name in table.column_names]
        rows = table.drop_columns(unknown).to_pylist()
        for row in rows if self.schema.time else ():
            row[self.schema.time] = row[self.schema.time].replace(tzinfo=UTC).isoformat()
        return rows

    def labels(self, table: pa.Table) -> list[dict[str, Any]]:
        """The label as the server takes it, of each row whose label is known."""
        ids, values = table[self.schema.id].to_pylist(), table[self.label.column].to_pylist()
        return [
            {"event_id": id_, "label": int(value) if isinstance(value, bool) else value}
            for id_, value in zip(ids, values, strict=True)
            if value is not None
        ]

    def timed_labels(self, table: pa.Table) -> list[tuple[datetime, dict[str, Any]]]:
        """The same of events with a time, each with when it is known, and that said in it."""
        delay = timedelta(days=self.label.delay_days)
        times = table.filter(table[self.label.column].is_valid())[self.schema.time].to_pylist()
        return [
            (time + delay, label | {"known_at": (time + delay).replace(tzinfo=UTC).isoformat()})
            for time, label in zip(times, self.labels(table), strict=True)
        ]


def replay(
    recording: Recording,
    url: str,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    singles: int = 0,
    events: bool = True,
    during: Callable[[], bool] | None = None,
    key: str = "",
) -> ReplayResult:
    """Replay the days `first_day` to `last_day` (inclusive), or events that have no time, against the server at `url`.

    Labels are those of recorded events: what happened before the recording, the server has from its backfill.

    Args:
        singles: how many of the first events to send one by one; the others go in lists of at most 100.
        events: whether events are sent, or only the labels that fall due.
        during: called before each single event; from the call that returns True on, events go in lists.
        key: an API key with the scopes score and labels, if the server asks for one.

    Raises:
        InputError: no days where events have a time, or days where they have none; the first day is after the last, or
            there is nothing of these days to send.
        SetupError: the server is not there, or does not take the key.
    """
    if not recording.schema.time:
        if first_day or last_day:
            raise InputError("events have no time", where="first and last day", todo="name none")
        return _replay_at_once(recording, _Client(url, key), singles)
    if first_day is None or last_day is None:
        raise InputError("not said which days to replay", where="first and last day", todo="name both")
    if first_day > last_day:
        raise InputError(f"{first_day} is after --to, {last_day}", where="--from", todo="swap the two")
    midnight = datetime.min.time()
    begin = datetime.combine(first_day, midnight)
    end = datetime.combine(last_day + timedelta(days=1), midnight)
    delay = timedelta(days=recording.label.delay_days)
    due = recording.timed_labels(recording.between(begin - delay, end - delay))
    table = recording.between(begin, end) if events else recording.table.slice(0, 0)
    times = table[recording.schema.time].to_pylist()
    rows = recording.requests(table)
    if events and not rows and not due:
        raise InputError(
            f"no events between {first_day} and {last_day}", todo=f"the files hold {recording.extent}"
        )
    client = _Client(url, key)
    sent_labels = position = 0
    for size in _batches(len(rows), singles, during):
        upto = sent_labels
        while upto < len(due) and due[upto][0] <= times[position + size - 1]:
            upto += 1
        client.labels([label for _, label in due[sent_labels:upto]])
        sent_labels = upto
        client.score(rows[position] if size == 1 else rows[position : position + size])
        position += size
    client.labels([label for _, label in due[sent_labels:]])
    return client.result(len(rows), len(due))


def _replay_at_once(recording: Recording, client: _Client, singles: int) -> ReplayResult:
    rows, labels, position = recording.requests(recording.table), recording.labels(recording.table), 0
    if not rows:
        raise InputError("no events in the files")
    for size in _batches(len(rows), singles, None):
        client.score(rows[position] if size == 1 else rows[position : position + size])
        position += size
    client.labels(labels)
    return client.result(len(rows), len(labels))


def _batches(rows: int, singles: int, during: Callable[[], bool] | None) -> Iterator[int]:
    position, one_by_one = 0, singles > 0 or during is not None
    while position < rows:
        if one_by_one and during is not None:
            one_by_one = not during()
        elif one_by_one:
            one_by_one = position < singles
        size = 1 if one_by_one else min(MAX_BATCH, rows - position)
        yield size
        position += size


class _Problem(msgspec.Struct, frozen=True):
    detail: str


def _said(answer: httpx.Response) -> str:
    """Why a server refused, in its own words."""
    try:
        return msgspec.json.decode(answer.content, type=_Problem).detail
    except msgspec.DecodeError:  # it is no server of ours, or one is in between
        return " ".join(answer.text[:200].split()) or answer.reason_phrase


class _Client:
    def __init__(self, url: str, key: str) -> None:
        self._start = "mlops serve" if key else "mlops serve --no-keys"
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = httpx.Client(base_url=url, timeout=30, headers=headers)
        self.requests = self.failed = 0
        self.errors: list[str] = []

    def score(self, body: object) -> None:
        self._post("/v1/score", body)

    def labels(self, labels: list[dict[str, Any]]) -> None:
        for start in range(0, len(labels), _LABEL_BATCH):
            self._post("/v1/labels", labels[start : start + _LABEL_BATCH])

    def result(self, events: int, labels: int) -> ReplayResult:
        return ReplayResult(
            requests=self.requests,
            failed=self.failed,
            events=events,
            labels=labels,
            errors=tuple(self.errors[:5]),
        )

    def _post(self, path: str, body: object) -> None:
        self.requests += 1
        try:
            answer = self._http.post(path, content=msgspec.json.encode(body))
        except httpx.ConnectError as error:
            raise SetupError(
                "no server answers", where=self._http.base_url, todo=f"start it: {self._start}"
            ) from error
        except httpx.TransportError as error:
            self._fail(f"{path}: {error!r}")
            return
        if answer.status_code in (401, 403):
            raise SetupError(
                f"the server does not let this in: {_said(answer)}",
                where=self._http.base_url,
                todo="make a key, mlops keys create NAME --scope score --scope labels, and say --key-file FILE",
            )
        if answer.status_code != 200:
            self._fail(f"{path}: {answer.status_code} {_said(answer)}")

    def _fail(self, text: str) -> None:
        self.failed += 1
        self.errors.append(text)
