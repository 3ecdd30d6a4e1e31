"""The schema of events, declared once: Spark validates with it, serving checks each request with it."""

from __future__ import annotations

from typing import Literal

import msgspec

from mlops.errors import ConfigError
from mlops.expectations import Expectation, NullShare, TrueShare
from mlops.layout import Layout

__all__ = ["Column", "ColumnType", "EventSchema", "Label", "Layout", "Task", "task_of"]

ColumnType = Literal["id", "timestamp", "decimal", "float", "integer", "text", "boolean"]
Task = Literal["classification", "regression"]


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column of an event.

    `id` values are opaque: whole numbers if all of a table's are, else text. `decimal` values are exact, with
    `decimals` digits after the point, and travel as scaled integers wherever they are summed. `minimum` and
    `maximum` are inclusive; for a timestamp they are ISO dates. `values` are all that a text may be.

    A `nullable` column may lack a value; an `optional` one, which is nullable too, may be missing from a file or a
    table altogether, as it is from those that are older than the column.
    """

    name: str
    type: ColumnType
    nullable: bool = False
    optional: bool = False
    values: tuple[str, ...] = ()
    minimum: float | str | None = None
    maximum: float | str | None = None
    decimals: int = 0
    unit: str = ""
    description: str = ""


class EventSchema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The columns of an event, which of them identifies it, and which holds its event time (UTC), if one does.

    `numbered` says that files and requests need not have the id. Validation then makes one of the file's content and
    the row's number in it, and a server gives one of its own, a text, to an event that comes without.

    `unknown_fields` says what a server does with a field of a request that is no column: refuse the event, lest a
    misspelt field is taken for a missing one, or ignore the field, as validation does with other columns of files.
    """

    id: str
    time: str = ""
    columns: tuple[Column, ...]
    layouts: tuple[Layout, ...] = ()
    numbered: bool = False
    unknown_fields: Literal["refuse", "ignore"] = "refuse"
    expectations: tuple[Expectation, ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ConfigError("two columns have one name", where="EventSchema")
        for role, name, type_ in (("id", self.id, "id"), ("time", self.time, "timestamp")):
            if role == "time" and not name:
                continue
            if name not in names:
                raise ConfigError(f"{role} column {name!r} is not among the columns", where="EventSchema")
            if self.column(name).type != type_ or self.column(name).nullable:
                raise ConfigError(
                    f"{role} column {name!r} must be a {type_} and not nullable", where="EventSchema"
                )
        for column in self.columns:
            _check(column)
        for expectation in self.expectations:
            if isinstance(expectation, NullShare | TrueShare):
                type_ = self.column(expectation.column).type
                if isinstance(expectation, TrueShare) and type_ != "boolean":
                    raise ConfigError(f"{expectation.column} is {type_}, and no boolean", where="TrueShare")
        for layout in self.layouts:
            if unknown := set(layout.columns) - set(names):
                raise ConfigError(f"unknown columns {sorted(unknown)}", where=f"Layout {layout.name}")
            if layout.encoding:
                raise ConfigError(
                    "has an encoding",
                    where=f"Layout {layout.name}",
                    todo="give it with the files: --encoding",
                )

    def column(self, name: str) -> Column:
        """The column called `name`.

        Raises:
            ConfigError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise ConfigError(f"no column {name!r}", where="EventSchema")


def _check(column: Column) -> None:
    where = f"Column {column.name}"
    if column.optional and not column.nullable:
        raise ConfigError("is optional, but not nullable", where=where, todo="set nullable=True")
    if column.values and column.type != "text":
        raise ConfigError(f"has values, but is {column.type}", where=where, todo="values are those of a text")


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The column that holds the truth, and how many days after the event it is known.

    The truth is a boolean, or a number that is to be predicted. `positive` is what an event is called whose label
    is true, in the singular. `details` are columns that say more and are known no sooner, such as the kind of a fraud:
    models are judged by them, and never read them.
    """

    column: str
    delay_days: int = 0
    positive: str = "positive"
    details: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The label and its details: what is not known when an event happens."""
        return (self.column, *self.details)

    @property
    def positives(self) -> str:
        return f"{self.positive}s"


def task_of(events: EventSchema, label: Label) -> Task:
    """What is to be learned: classes where the label is a boolean, a quantity where it is a number.

    Raises:
        ConfigError: it is neither.
    """
    type_ = events.column(label.column).type
    if type_ == "boolean":
        return "classification"
    if type_ in ("decimal", "float", "integer"):
        return "regression"
    raise ConfigError(
        f"{label.column} is {type_}", where="Label", todo="a label is a boolean, or a number to be predicted"
    )
