"""From a table to the folder of a use case: `mlops new-usecase`.

What the file holds is looked at (`table`, `guesses`), what that suggests is put together as the object that the
platform runs (`draft`), and written as the code that a person would write (`code`, `pages`).
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import msgspec

from mlops.errors import ConfigError, InputError
from mlops.layout import Layout
from mlops.storage import publish_dir
from pipelines.new_usecase.draft import Draft, draft
from pipelines.new_usecase.guesses import guess_column, has_decimal_commas, missing_marks, without
from pipelines.new_usecase.names import check_name
from pipelines.new_usecase.pages import pages
from pipelines.new_usecase.roles import Roles
from pipelines.new_usecase.table import read_table
from pipelines.remote import shown
from pipelines.staged import fetched

__all__ = ["NewUseCase", "Roles", "new_usecase"]


class NewUseCase(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Fields:
        package: what it is imported as; `path` is what PYTHONPATH must hold for that, if it must.
        rows: that were looked at; `train` and `test` are those with a known target.
        features: their number.
        left_out: columns that are none, and why.
        decide: places where a person must decide.
        example: an event as a request has it.
    """

    folder: Path
    package: str
    path: str
    task: str
    target: str
    rows: int
    train: int
    test: int
    features: int
    left_out: dict[str, str]
    decide: int
    example: dict[str, Any]


def new_usecase(
    name: str, source: str, roles: Roles, *, into: Path | None = None, separator: str = "", encoding: str = ""
) -> NewUseCase:
    """Write the folder of a use case that learns the target of `source`, a Parquet or CSV file or a folder of them.

    Args:
        into: the folder that gets it, instead of the package `usecases`.

    Raises:
        ConfigError: the name is none or is taken.
        InputError: the file cannot be read, or what the roles say does not fit it.
    """
    folder, package, path = _place(name, into)
    with fetched(source, encoding) as files:
        table = read_table(files, separator)
    where = shown(source)
    marks = missing_marks(table.columns)
    columns = {header: without(raw, marks) for header, raw in table.columns.items()}
    comma = has_decimal_commas(columns.values())
    guesses = {
        header: guess_column(header, raw, comma=comma, counted=header == roles.time)
        for header, raw in columns.items()
    }
    if not table.rows:
        raise InputError("no rows", where=where)
    layout = Layout(name="", missing=marks, decimal_comma=comma)
    made = draft(name, guesses, roles, layout, where)
    strange = {header: f"{type_}, which no event can have" for header, type_ in table.strange.items()}
    made = msgspec.structs.replace(made, left_out={**made.left_out, **strange})
    seen = f"all {table.rows:,} rows" if table.whole else f"the first {table.rows:,} rows"
    if table.odd_rows:
        seen += f", and {table.odd_rows:,} lines that have more or fewer fields than the header left out"
    files_ = pages(made, package, re.split(r"[/\\]", where.rstrip("/"))[-1], seen)
    with publish_dir(folder) as aside:
        for file, text in files_.items():
            (aside / file).write_text(text, encoding="utf-8")
    importlib.invalidate_caches()  # it can be imported from now on
    return _result(made, folder, package, path, table.rows, files_)


def _result(
    made: Draft, folder: Path, package: str, path: str, rows: int, files: dict[str, str]
) -> NewUseCase:
    return NewUseCase(
        folder=folder,
        package=package,
        path=path,
        task=made.use_case.task,
        target=made.use_case.label.column,
        rows=rows,
        train=made.plan.train,
        test=made.plan.test,
        features=len(made.use_case.features.names),
        left_out=made.left_out,
        decide=sum(text.count("Decide:") for text in files.values()),
        example=made.example,
    )


def _place(name: str, into: Path | None) -> tuple[Path, str, str]:
    """The folder to write, what it is imported as, and what must be on Python's path for that."""
    check_name(name)
    if into is None:
        found = importlib.util.find_spec("usecases")
        assert found is not None and found.origin is not None, "installed with the platform"
        folder, package, path = Path(found.origin).with_name(name), f"usecases.{name}", ""
    else:
        folder, package, path = into.absolute() / name, name, str(into.absolute())
        if importlib.util.find_spec(name) is not None and not folder.exists():
            raise ConfigError("is what another package is called", where=name, todo="choose another name")
    if folder.exists():
        raise ConfigError(
            "is there already", where=folder, todo="choose another name, or remove the folder yourself"
        )
    return folder, package, path
