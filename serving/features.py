"""The features of the event in hand. What they mean stands in `mlops.features`."""

from __future__ import annotations

from collections.abc import Callable

from mlops.bundle import Schema
from mlops.clock import calendar_part
from mlops.errors import BundleError, InputError
from mlops.features import Calendar, FeatureSet, Last, Missing, OneHot, Ratio, Rolling, Value
from serving.entries import Entry
from serving.events import Event, time_text, time_us
from serving.plan import StorePlan
from serving.store import StoreTransaction
from serving.windows import Reading, WindowReader

__all__ = ["OnlineFeatures"]

_Own = Callable[[Event], float]
_Windowed = Callable[[Reading], float]


class OnlineFeatures:
    """The executor of one feature set on stores with one plan.

    Raises:
        BundleError: a value may be missing, and a model's input may not.
        ConfigError: the plan lacks a stream, or there is no such time zone.
    """

    def __init__(self, features: FeatureSet, schema: Schema, plan: StorePlan) -> None:
        self.names = features.names
        self._schema = schema
        self._horizon_us = features.horizon_us
        self._windows = WindowReader(schema, plan)
        self._steps: list[tuple[str, _Own | None, _Windowed | None, Ratio | None]] = []
        for feature in features.features:
            if isinstance(feature, Rolling | Last):
                self._steps += [(a.name, None, self._windows.window(a), None) for a in feature.aggregates()]
            elif isinstance(feature, Ratio):
                self._steps.append((feature.name, None, None, feature))
            elif isinstance(feature, OneHot):
                self._steps += [
                    (name, _category(feature.column, value), None, None)
                    for name, value in zip(feature.names, feature.values, strict=True)
                ]
            else:
                self._steps.append((feature.names[0], self._own(feature), None, None))

    def compute(self, transaction: StoreTransaction, event: Event, entry: Entry) -> list[float]:
        """The values of an event that has been appended, in the order of `names`.

        Raises:
            InputError: its windows reach back to what the store has forgotten.
        """
        if self._horizon_us:
            self._check_remembered(transaction, entry)
        reading = self._windows.read(transaction, entry)
        values: dict[str, float] = {}
        for name, own, window, ratio in self._steps:
            if window:
                values[name] = window(reading)
            elif own:
                values[name] = own(event)
            elif ratio:
                below = values[ratio.denominator]
                values[name] = values[ratio.numerator] / below if below else ratio.fallback
        return list(values.values())

    def _check_remembered(self, transaction: StoreTransaction, entry: Entry) -> None:
        forgotten, oldest = transaction.forgotten_us, entry.time_us - self._horizon_us
        if forgotten is not None and oldest < forgotten:
            raise InputError(
                f"is too old: its windows reach back to {time_text(oldest)}, and the store has forgotten what was "
                f"before {time_text(forgotten)}",
                where=self._schema.events.time,
                todo="have its features computed from the event tables",
            )

    def _own(self, feature: Value | Missing | Calendar) -> _Own:
        if isinstance(feature, Missing):
            return lambda event: float(event.values.get(feature.column) is None)
        if isinstance(feature, Value):
            if feature.fallback is None and self._schema.events.column(feature.column).nullable:
                raise BundleError("may be missing, and has no fallback", where=feature.column)
            return _filled(feature.column, feature.fallback)
        part, timezone, fallback = feature.part, feature.timezone, feature.fallback
        calendar_part(part, 0, timezone)
        if feature.column in ("", self._schema.events.time):
            return lambda event: calendar_part(part, event.time_us, timezone)

        def shown(event: Event) -> float:
            moment = event.values.get(feature.column)
            return fallback if moment is None else calendar_part(part, time_us(moment), timezone)

        return shown


def _filled(column: str, fallback: float | None) -> _Own:
    def value(event: Event) -> float:
        own = event.values.get(column)
        return float(fallback if own is None else own)  # type: ignore[arg-type]

    return value


def _category(column: str, category: str) -> _Own:
    def value(event: Event) -> float:
        own = event.values.get(column)
        return float((str(own).lower() if isinstance(own, bool) else own) == category)

    return value
