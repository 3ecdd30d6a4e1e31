"""Counting, in memory that all workers share, so that any of them can say what all of them did.

A worker adds to its own numbers and shows everybody's: counters and histograms added up, gauges of each. Numbers
outlive their worker, so a counter never goes back while the server runs.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from serving.instruments import ALL, PROCESS_START, SIZE, Gauge, Histogram, Instrument, Series
from serving.notes import read_note
from serving.shared import Shared

__all__ = ["CONTENT_TYPE", "MODEL_INFO", "MODEL_INFO_HELP", "WorkerMetrics"]

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
"""Prometheus's text format, https://prometheus.io/docs/instrumenting/exposition_formats/."""

MODEL_INFO = "mlops_model_info"
MODEL_INFO_HELP = "The model that a worker answers with."


class WorkerMetrics:
    """The numbers of the process that `shared` is seen by.

    Fields:
        cells: to be added to at an instrument's place: `metrics.cells[REQUESTS.at("/v1/score", 200)] += 1`.
    """

    def __init__(self, shared: Shared) -> None:
        self.cells = shared.mine("metrics")
        self._shared = shared
        for instrument in ALL:
            if isinstance(instrument, Gauge):
                self.cells[instrument.start] = 0.0
        if shared.worker < shared.workers:
            self.cells[PROCESS_START.at()] = time.time()

    def observe(self, series: Series, value: float, count: int = 1) -> None:
        """Count a value, `count` times."""
        cells = self.cells
        cells[series.start + bisect_left(series.bounds, value)] += count
        cells[series.sum] += value * count

    def text(self) -> bytes:
        """All workers' metrics in Prometheus's text format."""
        return "".join(self._lines()).encode()

    def _lines(self) -> Iterator[str]:
        parts = [part[:SIZE].tolist() for part in self._shared.parts("metrics")]
        total = list(map(sum, zip(*parts, strict=True)))
        for instrument in ALL:
            yield f"# HELP {instrument.name} {instrument.help}\n# TYPE {instrument.name} {instrument.shown_kind}\n"
            if isinstance(instrument, Histogram):
                yield from _histogram(instrument, total)
            elif isinstance(instrument, Gauge):
                yield from _gauge(instrument, parts)
            else:
                yield from _counter(instrument, total)
        yield from self._models()

    def _models(self) -> Iterator[str]:
        yield f"# HELP {MODEL_INFO} {MODEL_INFO_HELP}\n# TYPE {MODEL_INFO} gauge\n"
        for worker, text in enumerate(self._shared.notes()):
            note = read_note(text)
            if note is not None and note.version is not None:
                labels = zip(
                    ("name", "version", "digest"), (note.name, note.version, note.digest or ""), strict=True
                )
                shown = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels)
                yield f'{MODEL_INFO}{{worker="{worker}",{shown}}} 1\n'


def _counter(instrument: Instrument, total: Sequence[float]) -> Iterator[str]:
    for place, values in enumerate(instrument.values, instrument.start):
        if total[place] or not instrument.shown or not instrument.shown.isdisjoint(values):
            yield f"{instrument.name}{_braced(_pairs(instrument, values))} {total[place]!r}\n"


def _gauge(instrument: Gauge, parts: Sequence[Sequence[float]]) -> Iterator[str]:
    place = instrument.at()
    started = [(worker, part[place]) for worker, part in enumerate(parts) if part[PROCESS_START.at()]]
    if instrument.together:
        yield f"{instrument.name} {max((value for _, value in started), default=0.0)!r}\n"
    else:
        yield from (f'{instrument.name}{{worker="{worker}"}} {value!r}\n' for worker, value in started)


def _histogram(instrument: Histogram, total: Sequence[float]) -> Iterator[str]:
    for values in instrument.values:
        series = instrument.of(*values)
        counts = total[series.start : series.sum]
        if not any(counts) and instrument.shown and instrument.shown.isdisjoint(values):
            continue
        pairs = _pairs(instrument, values)
        reached = 0.0
        for bound, count in zip((*map(repr, series.bounds), "+Inf"), counts, strict=True):
            reached += count
            le = ",".join((*pairs, f'le="{bound}"'))
            yield f"{instrument.name}_bucket{{{le}}} {reached!r}\n"
        yield f"{instrument.name}_sum{_braced(pairs)} {total[series.sum]!r}\n"
        yield f"{instrument.name}_count{_braced(pairs)} {reached!r}\n"


def _pairs(instrument: Instrument, values: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f'{label}="{_escaped(value)}"' for label, value in zip(instrument.labels, values, strict=True)
    )


def _braced(pairs: Sequence[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
