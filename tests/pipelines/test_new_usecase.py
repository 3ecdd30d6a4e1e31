"""What `mlops new-usecase` makes of tables: types, roles, features, comments, and what it refuses."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.contract import UseCase, load_use_case
from mlops.errors import ConfigError, InputError
from mlops.features import Calendar, Missing, OneHot, Rolling, Value
from mlops.policy import RandomSplit, Split
from pipelines.canonical import read_events
from pipelines.cli import main
from pipelines.new_usecase import NewUseCase, Roles, new_usecase

ROOT = Path(__file__).parents[2]
ROWS = 400
Write = Callable[..., tuple[NewUseCase, UseCase]]


def passengers(rows: int = ROWS) -> pd.DataFrame:
    """A table as people have them: blanks, categories, dates, names with quotes, headers with spaces."""
    rng = np.random.default_rng(0)
    number = np.arange(rows)
    survived = rng.random(rows) < 0.4
    return pd.DataFrame(
        {
            "Passenger Id": number + 1,
            "Survived?": np.where(survived, "yes", "no"),
            "Class": rng.choice([1, 2, 3], rows),
            "Name": [f'O\'Brien, Ann "{n}"' for n in number],
            "Sex": rng.choice(["male", "female"], rows),
            "Age (years)": np.where(number % 5 == 0, np.nan, rng.integers(1, 800, rows) / 10),
            "Ticket": [f"A/{n % 150}" for n in number],
            "Embarked": np.where(number % 40 == 3, None, rng.choice(["S", "Queen's", 'the "Q"', "\\"], rows)),
            "Born": pd.to_datetime("1880-01-01") + pd.to_timedelta(number * 17, unit="D"),
            "Postcode": rng.choice(["01067", "10115"], rows),
            "Boat": np.where(survived, rng.integers(1, 900, rows).astype(str), ""),
            "Ship": "Titanic",
            "Notes": None,
            "class": rng.choice(["<10", ">10"], rows),
        }
    )


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a use case of a table; a data frame is written as CSV first."""
    monkeypatch.syspath_prepend(str(tmp_path / "into"))

    def new(
        table: pd.DataFrame | Path, target: str, name: str = "", **options: Any
    ) -> tuple[NewUseCase, UseCase]:
        how = {key: options.pop(key) for key in ("separator", "encoding") if key in options}
        path = table if isinstance(table, Path) else tmp_path / "table.csv"
        if isinstance(table, pd.DataFrame):
            table.to_csv(path, index=False)
        name = name or f"drawn_{abs(hash(tmp_path)) % 10**9}"
        written = new_usecase(name, str(path), Roles(target=target, **options), into=tmp_path / "into", **how)
        return written, load_use_case(written.package)

    return new


def types(use_case: UseCase) -> dict[str, str]:
    return {column.name: column.type for column in use_case.events.columns}


def test_every_column_gets_a_name_a_type_and_a_use(write: Write) -> None:
    written, use_case = write(passengers(), "Survived?")
    assert types(use_case) == {
        "passenger_id": "id",
        "class_": "integer",
        "sex": "text",
        "age_years": "decimal",
        "embarked": "text",
        "born": "timestamp",
        "postcode": "text",
        "boat": "integer",
        "class__2": "text",
        "survived": "boolean",
    }
    assert use_case.task == "classification"
    assert not use_case.events.numbered
    assert {c.name for c in use_case.events.columns if c.nullable} == {
        "age_years",
        "embarked",
        "boat",
        "survived",
    }
    features = use_case.features.features
    assert OneHot(column="sex", values=("male", "female")) in [*features] or OneHot(
        column="sex", values=("female", "male")
    ) in [*features]
    assert Missing(column="age_years") in features and Value(column="class_") in features
    (ports,) = (f.values for f in features if isinstance(f, OneHot) and f.column == "embarked")
    assert set(ports) == {"S", "Queen's", 'the "Q"', "\\"}
    assert {f.part for f in features if isinstance(f, Calendar)} == {"year", "month", "weekday"}
    assert list(written.left_out) == ["Name", "Ticket", "Ship", "Notes"]
    assert isinstance(use_case.policy.split, RandomSplit)


def test_the_file_is_read_as_it_was_understood(write: Write, tmp_path: Path) -> None:
    table = passengers()
    _, use_case = write(table, "Survived?")
    rows = read_events([tmp_path / "table.csv"], use_case.events, use_case.label).to_pandas()
    assert rows["survived"].tolist() == (table["Survived?"] == "yes").tolist()
    assert rows["age_years"].fillna(-1).tolist() == table["Age (years)"].fillna(-1).tolist()
    assert rows["born"].tolist() == table["Born"].tolist()
    assert rows["class_"].tolist() == table["Class"].tolist()
    assert rows["class__2"].tolist() == table["class"].tolist()


def test_parquet_and_csv_give_the_same_use_case(write: Write, tmp_path: Path) -> None:
    table = passengers().drop(columns=["Boat", "Notes"]).astype({"Sex": "category"})
    table.to_parquet(tmp_path / "table.parquet")
    _, of_parquet = write(tmp_path / "table.parquet", "Survived?", name="of_parquet")
    _, of_csv = write(table, "Survived?", name="of_csv")
    assert of_parquet.features == of_csv.features
    assert of_parquet.events.columns == of_csv.events.columns
    assert of_parquet.policy == of_csv.policy


def test_what_is_written_is_formatted_checked_and_asks_where_a_person_must_decide(write: Write) -> None:
    written, _ = write(passengers(), "Survived?")
    assert sorted(path.name for path in written.folder.iterdir() if path.is_file()) == [
        "__init__.py", "events.py", "features.py", "model_card.md", "policy.yaml",
    ]  # fmt: skip
    config = f"--config={ROOT / 'pyproject.toml'}"
    for command in (
        ["ruff", "format", "--check", config],
        ["ruff", "check", "--no-cache", config],
        ["mypy", f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={written.folder.parent / 'mypy'}"],
    ):
        ran = subprocess.run(
            [sys.executable, "-m", *command, str(written.folder)], cwd=ROOT, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    texts = "".join(path.read_text() for path in written.folder.iterdir() if path.is_file())
    assert texts.count("Decide:") == written.decide >= 10
    leaks = [line for line in texts.splitlines() if "a possible leak" in line]
    assert len(leaks) == 1
    assert "- Name: another value in each of 400 rows" in texts


def test_an_event_of_the_table_is_given_as_an_example(write: Write) -> None:
    written, use_case = write(passengers(), "Survived?")
    event = json.loads(json.dumps(written.example, default=datetime.isoformat))
    assert event["passenger_id"] == ROWS + 1
    assert set(event) <= {c.name for c in use_case.events.columns} - {"survived"}


@pytest.mark.parametrize(
    ("values", "positive", "true", "how"),
    [
        (("yes", "no"), "", "yes", "as it reads"),
        (("no", "Yes"), "", "Yes", "as it reads"),
        ((1, 0), "", "1", "as it reads"),
        ((True, False), "", "True", "as it reads"),
        (("stays", "left"), "", "left", "the rarer value"),
        (("stays", "left"), "STAYS", "stays", "as --positive said"),
        ((1, 0), "0", "0", "as --positive said"),
        ((2, 1), "", "1", "the rarer value"),
        ((">50K", "<=50K"), "", "<=50K", "the rarer value"),
    ],
    ids=str,
)
def test_which_of_two_values_is_positive_is_said(
    write: Write, tmp_path: Path, values: tuple[Any, Any], positive: str, true: str, how: str
) -> None:
    number = np.arange(100)
    table = pd.DataFrame(
        {"x": number / 7, "flag": number % 2, "y": np.where(number % 3 > 0, values[0], values[1])}
    )
    written, use_case = write(table, "y", positive=positive)
    text = (written.folder / "events.py").read_text()
    assert f"# True is '{true}' ({how})" in text
    rows = read_events([tmp_path / "table.csv"], use_case.events, use_case.label)
    assert rows["y"].to_pylist() == [str(v).lower() == true.lower() for v in table["y"]]
    assert types(use_case)["flag"] == ("text" if positive == "0" else "boolean")


def test_a_bank_export_with_commas_dots_and_words_is_understood(write: Write, tmp_path: Path) -> None:
    lines = ["Tag;Kunde;Betrag;Saldo;Art;Betrug"]
    for n in range(300):
        day, comma = f"{n // 20 + 1:02}.03.2024 {n % 24:02}:15", f"{n % 90 + 1000:,}".replace(",", ".")
        lines.append(
            f"{day};{n % 40};{comma},{n % 100:02};{'n/a' if n % 9 == 0 else n};bar;{'ja' if n % 4 == 1 else 'nein'}"
        )
    path = tmp_path / "bank.csv"
    path.write_bytes("\r\n".join([*lines, ""]).replace("Art", "Überweisungsart").encode("cp1252"))
    with pytest.raises(InputError, match="no UTF-8 text; name its encoding"):
        write(path, "Betrug", time="Tag")
    written, use_case = write(path, "Betrug", time="Tag", keys=("Kunde",), encoding="cp1252")
    (layout,) = use_case.events.layouts
    assert (layout.time, layout.decimal_comma, layout.missing) == ("%d.%m.%Y %H:%M", True, ("n/a",))
    assert (layout.true, layout.false) == (("ja",), ("nein",))
    assert use_case.events.time == "tag" and use_case.events.numbered
    assert types(use_case)["kunde"] == "id"
    split = use_case.policy.split
    assert isinstance(split, Split) and split.days == 15
    windows = [f for f in use_case.features.features if isinstance(f, Rolling)]
    assert {type(f.agg).__name__ for f in windows} == {"Count", "Mean"}
    assert all(f.key == "kunde" and f.windows == ("1d", "7d") for f in windows)
    assert written.example["betrag"] == 1029.99
    copy = tmp_path / "utf-8.csv"
    copy.write_text(path.read_bytes().decode("cp1252"))
    rows = read_events([copy], use_case.events, use_case.label).to_pylist()
    assert (rows[21]["betrag"], rows[21]["saldo"], rows[18]["saldo"]) == (1021.21, 21, None)
    assert rows[20]["tag"] == datetime(2024, 3, 2, 20, 15)


def test_a_number_that_only_counts_the_time_is_no_feature(write: Write) -> None:
    number = np.arange(300)
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(number * 1000 + number % 7, unit="min")
    table = pd.DataFrame({"when": times, "seconds": number * 60_000 + 5, "x": number % 11, "y": number % 2})
    written, use_case = write(table, "y", time="when")
    assert written.left_out == {"seconds": "counts the time"}
    assert use_case.features.names == ("weekday", "hour", "x")


def test_a_column_without_a_header_and_marks_of_missing_values_are_told(write: Write) -> None:
    number = np.arange(200)
    work = np.where(number % 5, "office", "?")
    table = pd.DataFrame({"work": work, "x": np.where(number % 6, number % 17, "NA"), "y": number % 2})
    table.index = pd.Index(number, name="")
    written, use_case = write(table.reset_index(), "y")
    assert written.left_out == {"": "it has no header"}
    (layout,) = use_case.events.layouts
    assert layout.missing == ("NA",)
    assert types(use_case)["x"] == "integer"
    assert "Decide: is ? no value?" in (written.folder / "features.py").read_text()


def test_labels_that_are_still_awaited_at_the_end_make_a_delay(write: Write) -> None:
    days = pd.date_range("2024-01-01", periods=40, freq="D").repeat(10)
    number = np.arange(400)
    labels = np.where(days < "2024-02-03", number % 3 == 0, None)
    table = pd.DataFrame({"when": days, "x": number % 17, "late": labels})
    _, use_case = write(table, "late", time="when")
    split = use_case.policy.split
    assert isinstance(split, Split)
    assert use_case.label.delay_days == split.delay_days == 7
    assert split.days == 33


def test_a_number_with_many_values_is_a_quantity(write: Write, tmp_path: Path) -> None:
    number = np.arange(200)
    table = pd.DataFrame(
        {"index": number, "x": number % 13, "twice": number * 2.0, "price": number * 1.25 + 3}
    )
    table.to_parquet(tmp_path / "prices.parquet")
    written, use_case = write(tmp_path / "prices.parquet", "price")
    assert use_case.task == "regression"
    assert {c.builder for c in use_case.candidates} == {
        "training.builders:ridge_regression", "training.builders:boosted_regressor",
    }  # fmt: skip
    assert written.left_out == {"index": "the number of the row"}
    assert "alone it explains 100.0% of the target's variance" in (written.folder / "features.py").read_text()
    assert use_case.policy.gate.min_test_events <= written.test == 60


def test_features_never_have_one_name_twice(write: Write) -> None:
    number = np.arange(120)
    table = pd.DataFrame(
        {
            "age_filled": number % 7,
            "age": np.where(number % 2, number % 50, np.nan),
            "age_is_missing": number % 3,
            "kind_is_a": number % 11,
            "kind": np.where(number % 4, "a", "b"),
            "event_id": number % 5,
            "day": number % 9,
            "y": number % 2,
        }
    )
    _, use_case = write(table, "y")
    assert len(set(use_case.features.names)) == len(use_case.features.names)
    assert {"age_filled", "kind_is_a", "day_"} <= set(use_case.features.names)


def test_what_nobody_can_learn_from_is_refused(write: Write, tmp_path: Path) -> None:
    table = passengers()
    for target, said in (
        ("survived?", "no column 'survived?'; do you mean Survived??"),
        ("Nothing", "no column 'Nothing'; there are Passenger Id, Survived?"),
        ("Notes", "column Notes: is blank in all rows"),
        ("Ship", "column Ship: is 'Titanic' in all rows"),
        ("Class", "column Class: has 3 classes"),
        ("Ticket", "column Ticket: has 150 classes"),
    ):
        with pytest.raises(InputError) as caught:
            write(table, target)
        assert said in caught.value.line()
    for options, said in (
        ({"positive": "perhaps"}, "no value 'perhaps'; --positive is 'yes' or 'no'"),
        ({"id": "Sex"}, "column Sex: is no id: rows share a value"),
        ({"time": "Sex"}, "column Sex: is no time that can be read, such as"),
        ({"time": "When"}, "no column 'When' for --time"),
        ({"keys": ("Sex",)}, "name the column of it: --time COLUMN"),
        ({"time": "Born", "keys": ("Age (years)",)}, "column Age (years): is a decimal, and no id or key"),
        ({"time": "Born", "id": "Born"}, "Born is named twice"),
    ):
        with pytest.raises(InputError) as caught:
            write(table, "Survived?", **options)
        assert said in caught.value.line()
    with pytest.raises(
        InputError, match=r"rows of the rarer class \(yes\) are too few; bring at least 28: 20 to"
    ):
        write(table[:40], "Survived?")
    with pytest.raises(InputError, match="3 rows with a known target are too few; bring at least 57: 40 to"):
        write(pd.DataFrame({"x": [1.5, 2.5, 3.5], "y": [0.1, 0.2, 0.3]}), "y")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.csv", None, "no such file or folder"),
        ("empty.csv", b"", "the file is empty"),
        ("header.csv", b"a,y\n", "no rows"),
        ("model.pkl", pickle.dumps({"a": [1]}), "a pickle is not read"),
        ("table.parquet", b"PAR1 cut off", "is damaged"),
        ("table.xlsx", b"zip", "an office document is not read"),
    ],
)
def test_what_is_no_table_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content == b"zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("[Content_Types].xml", "<Types/>")
            archive.writestr("xl/workbook.xml", "<workbook/>")
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["new-usecase", "sheet", "--from", str(path), "--target", "y", "--into", str(tmp_path / "into")])
    line = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in line and line.count("\n") == 1
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my-churn", "is no name for a Python package; small letters, digits and _: my_churn"),
        ("class", "is no name for a Python package"),
        ("json", "is what another package is called"),
    ],
)
def test_a_name_that_cannot_be_imported_is_refused(write: Write, name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write(passengers(), "Survived?", name=name)
    assert said in caught.value.line()


def test_a_folder_that_is_there_is_never_overwritten(write: Write) -> None:
    written, _ = write(passengers(), "Survived?")
    mine = written.folder / "features.py"
    mine.write_text("# mine\n")
    with pytest.raises(ConfigError, match="is there already; choose another name"):
        write(passengers(), "Survived?", name=written.package)
    assert mine.read_text() == "# mine\n"
    with pytest.raises(ConfigError, match="is there already"):
        new_usecase("fraud", "table.csv", Roles(target="y"))
