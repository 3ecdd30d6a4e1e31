"""The use case that a file suggests, as the object that the platform runs, with the comments that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from mlops.contract import Candidate, UseCase
from mlops.errors import InputError
from mlops.features import Calendar, Count, Feature, FeatureSet, Mean, Rolling
from mlops.layout import Layout
from mlops.policy import Drift, Gate, Performance, Policy, Split
from mlops.schema import Column, ColumnType, EventSchema, Label
from pipelines.new_usecase.conventions import agree
from pipelines.new_usecase.guesses import Guess
from pipelines.new_usecase.inputs import column_of, facts_of, input_of
from pipelines.new_usecase.names import slug, unused
from pipelines.new_usecase.roles import Roles, check_roles, found_id
from pipelines.new_usecase.splits import Plan, plan_split
from pipelines.new_usecase.suspects import follows, suspicion
from pipelines.new_usecase.target import Target, find_target

__all__ = ["Draft", "draft"]

_ID = "event_id"
_WINDOWS = (1, 7, 30)
_MEANS = 2


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A use case that can be run, and what must be told with it.

    Fields:
        comments: lines above a part of it, by the part's `id`.
        left_out: columns that are no features, by header, and why.
        example: an event of the file, as a request has it.
    """

    use_case: UseCase
    target: Target
    plan: Plan
    comments: dict[int, list[str]]
    left_out: dict[str, str]
    example: dict[str, Any]


def draft(name: str, guesses: Mapping[str, Guess], roles: Roles, layout: Layout, where: object) -> Draft:
    """A use case for a file whose columns hold what `guesses` says.

    Args:
        layout: what is known already of how the file writes its values.

    Raises:
        InputError: a column that has a role is not there or cannot play it, or the file has too few rows.
    """
    target = find_target(guesses, roles.target, roles.positive, where)
    check_roles(guesses, roles, where)
    time = guesses[roles.time] if roles.time else None
    plan = plan_split(target, time.values if time else None, where)
    agreed, layout = agree(guesses, target.guess, time, layout)
    parts = _Parts(agreed, target, time, layout.time)
    if time is not None:
        parts.features += _calendar(time)
    if id_ := roles.id or found_id(agreed, roles):
        parts.add_role(id_, "id")
    else:
        parts.number_rows()
    if time is not None:
        parts.add_role(time.header, "timestamp")
    for key in roles.keys:
        parts.add_role(key, "id")
    label = unused(slug(roles.target), parts.taken())
    parts.names[roles.target] = label
    for header in agreed:
        if header not in parts.names:
            parts.add_input(header)
    parts.add_label(label, plan)
    parts.features += _windows(parts, plan, roles)
    if not parts.features:
        raise InputError(f"no column is left to predict {roles.target} from", where=where)
    return parts.finished(name, roles, layout, plan)


class _Parts:
    """What a draft is put together from."""

    def __init__(
        self, guesses: Mapping[str, Guess], target: Target, time: Guess | None, pattern: str
    ) -> None:
        self.guesses, self.target, self._time, self._pattern = guesses, target, time, pattern
        self.columns: list[Column] = []
        self.features: list[Feature] = []
        self.names: dict[str, str] = {}  # by header
        self.numbered = False
        self.comments: dict[int, list[str]] = {}
        self.left_out: dict[str, str] = {}

    def taken(self) -> set[str]:
        """What columns and features are called so far."""
        columns = (column.name for column in self.columns)
        features = (name for feature in self.features for name in feature.names)
        return {*columns, *self.names.values(), *features}

    def number_rows(self) -> None:
        """Add the id that rows get which have none."""
        self.numbered = True
        self._add(
            Column(name=_ID, type="id"),
            "Rows have no id and are numbered, file by file.",
            "Decide: is there one? Without, a row that comes in two files counts twice.",
        )

    def add_role(self, header: str, type_: ColumnType) -> None:
        """Add a column that every event must have, and that is no feature."""
        guess = self.guesses[header]
        self.names[header] = unused(slug(header), self.taken())
        column = column_of(guess, self.names[header], nullable=False, type_=type_)
        self._add(column, facts_of(guess))
        if guess.blanks:
            self._say(column, f"{guess.blanks:,} rows without one will be set apart.")

    def add_input(self, header: str) -> None:
        """Add a column and its features, or leave it out."""
        guess, taken = self.guesses[header], self.taken()
        for number in range(1, len(taken) + 2):
            name = slug(header) if number == 1 else f"{slug(header)}_{number}"
            found = input_of(guess, name, self._pattern)
            if not taken & {name, *(n for feature in found.features for n in feature.names)}:
                break
        if why := found.why or ("counts the time" if self._time and follows(guess, self._time) else ""):
            self.left_out[header] = why
            return
        self.names[header] = name
        self._add(column_of(guess, name, nullable=guess.blanks > 0), facts_of(guess))
        self.features += found.features
        if leak := suspicion(guess, self.target):
            self._say(
                found.features[0], f"Decide: a possible leak: {leak}. Is it known when the model is asked?"
            )
        self._say(found.features[0], *(f"Decide: {text}" for text in found.decide))

    def add_label(self, name: str, plan: Plan) -> None:
        """Add the target's column, last."""
        target = self.target
        column = column_of(target.guess, name, nullable=True)
        known = int(target.known.sum())
        if not target.is_class:
            self._add(column, facts_of(target.guess))
        else:
            self._add(
                column,
                f"True is {target.positive!r} ({target.chosen}), in {target.positives:,} of {known:,} rows; false is "
                f"{target.negative!r}.",
                "Decide: is this the value that is to be found? `--positive` turns it over.",
            )
        if known < len(target.values):
            self._say(column, "Rows without one are neither trained on nor tested on.")

    def _add(self, column: Column, *facts: str) -> None:
        self.columns.append(column)
        self._say(column, *facts)

    def _say(self, part: Column | Feature, *lines: str) -> None:
        self.comments.setdefault(id(part), []).extend(line for line in lines if line)

    def finished(self, name: str, roles: Roles, layout: Layout, plan: Plan) -> Draft:
        """The draft."""
        columns, id_ = tuple(self.columns), self.columns[0]
        headers = {ours: header for header, ours in self.names.items()}
        theirs: dict[str, str | tuple[str, ...]] = {
            c.name: headers[c.name] for c in columns if headers.get(c.name, c.name) != c.name
        }
        layout = msgspec.structs.replace(layout, name=name, columns=theirs)
        target, label = self.target, self.columns[-1]
        if any(self.guesses[header].also for header in self.names):
            self.comments[id(layout)] = ["Decide: day and month could as well change places in `time`."]
        use_case = UseCase(
            name=name.replace("_", "-"),
            title=name.replace("_", " ").capitalize(),
            events=EventSchema(
                id=id_.name,
                time=self.names.get(roles.time, "") if roles.time else "",
                columns=columns,
                layouts=() if layout == Layout(name=name) else (layout,),
                numbered=self.numbered,
            ),
            label=Label(
                column=label.name,
                delay_days=plan.delay_days,
                positive=_positive(target, label.name),
            ),
            features=FeatureSet(tuple(self.features)),
            candidates=_candidates(target),
            policy=_policy(target, plan),
        )
        return Draft(
            use_case=use_case,
            target=target,
            plan=plan,
            comments=self.comments,
            left_out=self.left_out,
            example=self._example(use_case.events),
        )

    def _example(self, events: EventSchema) -> dict[str, Any]:
        """The newest row without blanks if there is one, as an event that has not been seen."""
        headers = {ours: header for header, ours in self.names.items()}
        asked = [c for c in self.columns[:-1] if c.name in headers]
        values = {c.name: self.guesses[headers[c.name]].values for c in asked}
        rows = pa.table(values)
        whole = rows.drop_null()
        last = (whole if whole.num_rows else rows).slice(max(whole.num_rows or rows.num_rows, 1) - 1, 1)
        event = {key: value for key, value in last.to_pylist()[0].items() if value is not None}
        if events.id in event:
            ids = values[events.id]
            event[events.id] = pc.max(ids).as_py() + 1 if pa.types.is_integer(ids.type) else "new-1"
        return event


def _positive(target: Target, label: str) -> str:
    """What a positive event is called: the value, if that is a word."""
    if not target.is_class:
        return Label(column=label).positive
    word = target.positive
    says_little = (
        word.lower() in ("yes", "y", "t", "true") or not word.replace(" ", "").isalpha() or len(word) == 1
    )
    return label.replace("_", " ") if says_little else word


def _calendar(time: Guess) -> Sequence[Feature]:
    of_day = pc.any(pc.not_equal(time.values, time.values.cast(pa.date32()).cast(time.values.type))).as_py()
    return [Calendar(part="weekday"), *([Calendar(part="hour")] if of_day else [])]


def _windows(parts: _Parts, plan: Plan, roles: Roles) -> list[Feature]:
    """Counts and means by each key, as long as the training days allow."""
    if not roles.keys or not isinstance(plan.split, Split):
        return []
    windows = tuple(f"{days}d" for days in _WINDOWS if days == 1 or days <= plan.split.train_days)
    exact = [c for c in parts.columns[:-1] if c.type in ("decimal", "integer")]
    exact.sort(key=lambda c: (c.type, c.nullable))
    features: list[Feature] = []
    for key in (parts.names[header] for header in roles.keys):
        features.append(Rolling(key=key, agg=Count(), windows=windows))
        features += [Rolling(key=key, agg=Mean(column=c.name), windows=windows) for c in exact[:_MEANS]]
    return features


def _candidates(target: Target) -> tuple[Candidate, ...]:
    linear, trees = (
        ("logistic_regression", "boosted_classifier")
        if target.is_class
        else ("ridge_regression", "boosted_regressor")
    )
    return (
        Candidate(name="linear", framework="scikit-learn", builder=f"training.builders:{linear}"),
        Candidate(name="trees", framework="scikit-learn", builder=f"training.builders:{trees}"),
    )


def _policy(target: Target, plan: Plan) -> Policy:
    if target.is_class:
        gate = Gate(
            min_test_positives=min(50, plan.test_positives // 2) or 1, min_auc=0.6, baseline_margin=0.0
        )
        performance = Performance(min_drop=0.05, min_positives=20)
    else:
        gate = Gate(min_test_events=min(100, plan.test // 2) or 1, constant_margin=0.0, baseline_margin=0.0)
        performance = Performance(max_rise=0.1, min_events=50)
    return Policy(split=plan.split, gate=gate, drift=Drift(threshold=0.2, share=0.3), performance=performance)
