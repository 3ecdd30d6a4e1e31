"""Every metric of the service: its name, what it says, its labels with all the values that they can take.

All series are known beforehand, so each has a fixed place among a worker's numbers, counting is adding to that place,
and no request can make a series. What a label has no value for is counted under `other`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

__all__ = [
    "ALL",
    "BATCH_EVENTS",
    "CONNECTIONS",
    "DRAINING",
    "EVENTS_SCORED",
    "KEYS_STALE",
    "LABELS",
    "LOG_BYTES",
    "LOG_DAMAGED",
    "LOG_FAILURES",
    "LOG_FREE_BYTES",
    "MODEL_LOADS",
    "MODEL_REFUSED",
    "PROCESS_CPU",
    "PROCESS_FDS",
    "PROCESS_MAX_FDS",
    "PROCESS_RESIDENT",
    "PROCESS_START",
    "QUEUE_EVENTS",
    "QUEUE_LIMIT",
    "REJECTED",
    "REQUESTS",
    "REQUEST_SECONDS",
    "SCORE",
    "SIZE",
    "STAGES",
    "STORE_ASKED",
    "STORE_BYTES",
    "STORE_EVENTS",
    "STORE_UP",
    "WORKER_RESTARTS",
    "Counter",
    "Gauge",
    "Histogram",
    "Instrument",
    "Series",
]

OTHER = "other"
Kind = Literal["counter", "gauge", "histogram"]

ALL: list[Instrument] = []
"""In the order of their places, which is the order in which they are shown."""


class Series:
    """One histogram's place: a number for each bucket, in order, the open one after them, then the sum.

    Fields:
        bounds: upper ends of the buckets, each of which belongs to its bucket.
    """

    __slots__ = ("bounds", "start", "sum")

    def __init__(self, start: int, bounds: tuple[float, ...]) -> None:
        self.start = start
        self.bounds = bounds
        self.sum = start + len(bounds) + 1


class Instrument:
    """A metric: a series for each combination of its labels' values.

    Args:
        help: one line for the reader of `/metrics`.
        labels: names and all values.
        shown: a series that is still zero is shown only if one of its values is here; all are if it is empty.
        width: numbers that a series takes.
    """

    kind: Kind

    def __init__(
        self,
        name: str,
        help: str,
        *,
        labels: dict[str, Sequence[str]] | None = None,
        shown: Sequence[str] = (),
        width: int = 1,
    ) -> None:
        self.name = name
        self.help = help
        self.labels = {label: tuple(values) for label, values in (labels or {}).items()}
        self.shown = frozenset(shown)
        self.width = width
        self.start: int = ALL[-1].end if ALL else 0
        self.values = list(product(*self.labels.values()))
        self.end: int = self.start + width * len(self.values)
        self._places: dict[tuple[str | int, ...], int] = {}
        for i, values in enumerate(self.values):
            self._places[values] = self.start + width * i
            self._places[tuple(int(v) if v.isdecimal() else v for v in values)] = self.start + width * i
        ALL.append(self)

    @property
    def shown_kind(self) -> str:
        """Its type as Prometheus is told: what is read elsewhere and only grows is set as a gauge is, but counts."""
        return "counter" if self.name.endswith("_total") else self.kind

    def _place(self, values: tuple[str | int, ...]) -> int:
        place = self._places.get(values)
        if place is None:
            pairs = zip(map(str, values), self.labels.values(), strict=True)
            place = self._places[tuple(value if value in known else OTHER for value, known in pairs)]
        return place


class Counter(Instrument):
    """It only grows; all workers' add up."""

    kind: Kind = "counter"

    def at(self, *values: str | int) -> int:
        """The place of the series of these label values, in the labels' order: `metrics.cells[place] += 1`.

        A value that the label does not have counts under `other`, where there is that.

        Raises:
            KeyError: there is no such value, and no `other`.
        """
        return self._place(values)


class Gauge(Instrument):
    """It goes up and down. Each worker's is shown, under the label `worker`; or the largest, if `together`."""

    kind: Kind = "gauge"

    def __init__(self, name: str, help: str, *, together: bool = False) -> None:
        super().__init__(name, help)
        self.together = together

    def at(self) -> int:
        """Its place."""
        return self.start


class Histogram(Instrument):
    """Values counted in buckets; all workers' add up."""

    kind: Kind = "histogram"

    def __init__(
        self,
        name: str,
        help: str,
        *,
        bounds: Sequence[float],
        labels: dict[str, Sequence[str]] | None = None,
        shown: Sequence[str] = (),
    ) -> None:
        self.bounds = tuple(map(float, bounds))
        super().__init__(name, help, labels=labels, shown=shown, width=len(bounds) + 2)
        self._series = {place: Series(place, self.bounds) for place in self._places.values()}

    def of(self, *values: str | int) -> Series:
        """The series of these label values, for `metrics.observe`; see `Counter.at`."""
        return self._series[self._place(values)]


ROUTES = (
    *("/v1/score", "/v1/predict", "/v1/labels", "/v1/decisions/{id}", "/v1/model", "/v1/admin/reload"),
    *("/metrics", "/livez", "/readyz", "/openapi.json", "/docs", "/"),
    *("/invocations", "/ping", "/health", "/version", "/predict", "/score"),
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{name}", "/v2/models/{name}/ready"),
    *("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}"),
    *("/v2/models/{name}/versions/{version}/ready", "/v2/models/{name}/versions/{version}/infer", OTHER),
)
"""Paths as the routes have them; what fits no route is `other`."""

STATUSES = (
    *("200", "304", "400", "401", "403", "404", "405", "406", "408", "409", "411", "413", "414", "415"),
    *("422", "429", "431", "500", "501", "503", "505", OTHER),
)

_REQUEST_BOUNDS = (
    *(0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_STAGE_BOUNDS = (
    *(0.000005, 0.00001, 0.00002, 0.00003, 0.00005, 0.000075, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005),
    *(0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0),
)
_SCORE_BOUNDS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    *(0.8, 0.9, 0.95, 1.0),
)

REQUESTS = Counter(
    "mlops_requests_total",
    "Requests answered, by route and status.",
    labels={"route": ROUTES, "status": STATUSES},
    shown=("200", "422", "429", "500", "503"),
)
REQUEST_SECONDS = Histogram(
    "mlops_request_seconds",
    "Seconds from a request's first byte to its answer, by route.",
    labels={"route": ROUTES},
    bounds=_REQUEST_BOUNDS,
    shown=("/v1/score", "/v1/predict", "/v1/labels"),
)
REJECTED = Counter(
    "mlops_rejected_total",
    "Requests that were turned away, by reason; store: the store, or a log, could not be used.",
    labels={"reason": ("queue", "rate", "auth", "body", "timeout", "store", OTHER)},
)
STAGES = Histogram(
    "mlops_stage_seconds",
    "Seconds of an event in a stage; a batch's seconds are divided by its events.",
    labels={"stage": ("parse", "features", "model", "log", "commit", "total")},
    bounds=_STAGE_BOUNDS,
)
BATCH_EVENTS = Histogram(
    "mlops_batch_events",
    "Events that were scored together.",
    bounds=(1, 2, 4, 8, 16, 32, 64, 128),
)
EVENTS_SCORED = Counter(
    "mlops_events_scored_total",
    "Events scored for the first time, by decision; none where the model has no thresholds.",
    labels={"decision": ("approve", "review", "decline", "none")},
)
SCORE = Histogram(
    "mlops_score",
    "Scores given, of a classification.",
    bounds=_SCORE_BOUNDS,
)
LABELS = Counter(
    "mlops_labels_total",
    "Labels taken: applied to a known event, or held until it comes.",
    labels={"outcome": ("applied", "held")},
)
MODEL_LOADS = Counter(
    "mlops_model_loads_total",
    "Bundles that a worker loaded, or refused.",
    labels={"outcome": ("loaded", "refused")},
)
LOG_BYTES = Counter("mlops_log_bytes_total", "Bytes written to the decision log and the label log.")
LOG_FAILURES = Counter(
    "mlops_log_failures_total", "Writes to those logs that failed; nothing was acknowledged."
)
WORKER_RESTARTS = Counter("mlops_worker_restarts_total", "Workers that ended unasked and were started again.")
QUEUE_EVENTS = Gauge("mlops_queue_events", "Events that wait to be scored.")
QUEUE_LIMIT = Gauge("mlops_queue_limit", "Events that may wait; what comes beyond is answered with 503.")
CONNECTIONS = Gauge("mlops_connections", "Open connections.")
DRAINING = Gauge("mlops_draining", "1 while the worker finishes what it has and ends.")
MODEL_REFUSED = Gauge("mlops_model_refused", "1 while the pointer names a bundle that was refused.")
KEYS_STALE = Gauge(
    "mlops_keys_stale", "1 while the file of API keys cannot be followed; those that it had are in force."
)
LOG_FREE_BYTES = Gauge("mlops_log_free_bytes", "Free space where those logs are written.", together=True)
LOG_DAMAGED = Gauge(
    "mlops_log_damaged_lines",
    "Damaged lines that were found, and passed over, where the end of those logs was read.",
    together=True,
)
STORE_UP = Gauge("mlops_store_up", "1 if the online store can be reached, and written to as far as is known.")
STORE_ASKED = Gauge("mlops_store_asked_timestamp_seconds", "When the store was asked last, since the epoch.")
STORE_EVENTS = Gauge("mlops_store_events", "Events in the online store.", together=True)
STORE_BYTES = Gauge("mlops_store_bytes", "Size of the online store.", together=True)
PROCESS_START = Gauge("process_start_time_seconds", "When the process started, since the epoch.")
PROCESS_CPU = Gauge("process_cpu_seconds_total", "Processor time used, user and system.")
PROCESS_RESIDENT = Gauge("process_resident_memory_bytes", "Resident memory.")
PROCESS_FDS = Gauge("process_open_fds", "Open file descriptors.")
PROCESS_MAX_FDS = Gauge("process_max_fds", "File descriptors that may be open.")

SIZE = ALL[-1].end
"""Numbers that they take in a worker's part."""
