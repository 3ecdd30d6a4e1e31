"""Files of any origin: Spark and Arrow read the same events from them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.errors import ConfigError, InputError
from mlops.layout import Layout
from pipelines.canonical import read_events
from pipelines.checks import check_rows
from pipelines.cli import main
from pipelines.event_table import REASON
from pipelines.given_layout import given_layout
from pipelines.sources import event_files
from pipelines.staged import fetched

USE_CASE = load_use_case("usecases.fraud")
SCHEMA, LABEL = USE_CASE.events, USE_CASE.label
COLUMNS = [column.name for column in SCHEMA.columns if not column.optional]
HANDBOOK = {
    "transaction_id": "TRANSACTION_ID",
    "event_time": "TX_DATETIME",
    "customer_id": "CUSTOMER_ID",
    "terminal_id": "TERMINAL_ID",
    "amount": "TX_AMOUNT",
    "is_fraud": "TX_FRAUD",
}
PAYMENTS = pd.DataFrame(
    {
        "TRANSACTION_ID": [1, 2, 3],
        "TX_DATETIME": ["2018-04-01 00:00:31", "2018-04-01 14:02:10", "2018-12-31 23:59:59"],
        "CUSTOMER_ID": [596, 4961, 2],
        "TERMINAL_ID": [3156, 3412, 1365],
        "TX_AMOUNT": [57.16, 1181.5, 146.0],
        "TX_FRAUD": [0, 1, 0],
    }
)
EVENTS = [
    (1, datetime(2018, 4, 1, 0, 0, 31), 596, 3156, 57.16, False),
    (2, datetime(2018, 4, 1, 14, 2, 10), 4961, 3412, 1181.5, True),
    (3, datetime(2018, 12, 31, 23, 59, 59), 2, 1365, 146.0, False),
]
Read = Callable[..., list[tuple[Any, ...]]]


def with_arrow(source: Path, layout: Layout | None = None) -> list[tuple[Any, ...]]:
    with fetched(source, layout.encoding if layout else "") as files:
        table = read_events([files], SCHEMA, LABEL, layout).sort_by("transaction_id")
    return [tuple(row[name] for name in COLUMNS) for row in table.to_pylist()]


@pytest.fixture(scope="module", params=["arrow", "spark"])
def read(request: pytest.FixtureRequest) -> Read:
    """Read a source as canonical events, ordered by id; the same by both readers."""
    if request.param == "arrow":
        return with_arrow
    spark: SparkSession = request.getfixturevalue("spark")

    def with_spark(source: Path, layout: Layout | None = None) -> list[tuple[Any, ...]]:
        with fetched(source, layout.encoding if layout else "") as files:
            rows = check_rows(spark, event_files(files, SCHEMA, LABEL, layout=layout), SCHEMA, LABEL).rows
            found = [row.asDict() for row in rows.collect()]
        assert [row[REASON] for row in found if row[REASON]] == []
        ids = [c.name for c in SCHEMA.columns if c.type == "id"]
        whole = {name: all(str(row[name]).isdigit() for row in found) for name in ids}
        for row in found:
            row |= {name: int(row[name]) if whole[name] else str(row[name]) for name in ids}
        return sorted(tuple(row[name] for name in COLUMNS) for row in found)

    return with_spark


def csv_text(frame: pd.DataFrame = PAYMENTS, **options: Any) -> bytes:
    return frame.to_csv(index=False, **options).encode()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


FILES: dict[str, dict[str, bytes]] = {
    "commas": {"a.csv": csv_text()},
    "semicolons": {"a.csv": csv_text(sep=";")},
    "tabs": {"a.tsv": csv_text(sep="\t")},
    "pipes": {"a.txt": csv_text(sep="|")},
    "carets": {"a.txt": csv_text(sep="^")},
    "control characters, as Hive writes": {"000000_0": csv_text(sep="\x01")},
    "quoted": {"a.csv": csv_text(quoting=1)},
    "with a byte order mark and CRLF": {"a.csv": b"\xef\xbb\xbf" + csv_text(lineterminator="\r\n")},
    "UTF-16 as a spreadsheet saves it": {"a.txt": csv_text(sep="\t").decode().encode("utf-16")},
    "a file a day": {f"{n}.csv": csv_text(PAYMENTS[n : n + 1]) for n in range(3)},
    "days in folders": {f"2018/{n}/data": csv_text(PAYMENTS[n : n + 1], sep=";,|"[n]) for n in range(3)},
    "gzip": {"a.csv.gz": gzip.compress(csv_text())},
    "bzip2": {"a.csv.bz2": bz2.compress(csv_text())},
    "xz": {"a.csv.xz": lzma.compress(csv_text())},
    "zip": {"a.zip": zipped(**{"one.csv": csv_text(PAYMENTS[:1]), "more/two.csv": csv_text(PAYMENTS[1:])})},
    "packed in several ways beside plain files": {
        "a.csv": csv_text(PAYMENTS[:1]),
        "a.csv.xz": lzma.compress(csv_text(PAYMENTS[1:2])),
        "b.csv.gz": gzip.compress(csv_text(PAYMENTS[2:])),
    },
}


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_any_separator_and_packing_gives_the_same_events(
    read: Read, tmp_path: Path, files: dict[str, bytes]
) -> None:
    for name, content in files.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert read(tmp_path / "source") == EVENTS
    if len(files) == 1:
        assert read(path) == EVENTS


def test_a_zstandard_archive_is_unpacked(read: Read, tmp_path: Path) -> None:
    with pa.output_stream(str(tmp_path / "a.csv.zst"), compression="zstd") as stream:
        stream.write(csv_text())
    assert read(tmp_path / "a.csv.zst") == EVENTS


def _nanoseconds(path: Path) -> None:
    times = pd.to_datetime(PAYMENTS.TX_DATETIME).astype("datetime64[ns]") + pd.Timedelta(nanoseconds=789)
    pq.write_table(pa.Table.from_pandas(PAYMENTS.assign(TX_DATETIME=times), preserve_index=False), path)


def _categories(path: Path) -> None:
    PAYMENTS.astype({"TX_DATETIME": "category", "CUSTOMER_ID": "category"}).to_parquet(path)


def _ids_as_text(path: Path) -> None:
    PAYMENTS.astype({"TRANSACTION_ID": str, "CUSTOMER_ID": str, "TERMINAL_ID": float}).to_parquet(path)


@pytest.mark.parametrize("write", [_nanoseconds, _categories, _ids_as_text], ids=lambda w: w.__name__[1:])
def test_parquet_as_others_write_it_gives_the_same_events(
    read: Read, tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "a.parquet")
    assert read(tmp_path) == EVENTS


def test_ids_that_are_no_numbers_stay_text(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text(PAYMENTS.assign(CUSTOMER_ID=["007", "C1", "é"])))
    assert [row[2] for row in read(tmp_path)] == ["007", "C1", "é"]


def test_columns_are_mapped_at_the_command_line(read: Read, tmp_path: Path) -> None:
    foreign = PAYMENTS.rename(
        columns={"TRANSACTION_ID": "trans_num", "TX_AMOUNT": "amt", "CUSTOMER_ID": "cc_num"}
    )
    (tmp_path / "a.csv").write_bytes(csv_text(foreign.assign(amount="not ours")))
    layout = given_layout(
        columns=[
            "transaction_id=trans_num", "event_time=TX_DATETIME", "customer_id=cc_num", "terminal_id=TERMINAL_ID",
            "amount=amt", "is_fraud=TX_FRAUD",
        ]
    )  # fmt: skip
    assert read(tmp_path, layout) == EVENTS


def test_the_layout_in_the_documents_reads_what_a_bank_exports(read: Read, tmp_path: Path) -> None:
    document = (Path(__file__).parents[2] / "docs" / "foreign-files.md").read_text("utf-8")
    (tmp_path / "bank.yaml").write_text(document.split("```yaml\n")[1].split("```")[0], "utf-8")
    lines = [
        "Buchung*Datum*Uhrzeit*Karte*Händler*Betrag*Betrug",
        "1*01.04.2018*00:00:31*596*3156*57,16*nein",
        "2*1.4.2018*14:02:10*4961*3412*1.181,50*Verdacht",
        "3*31.12.2018*23:59:59*2*1365*146*NEIN",
        "4*31.12.2018*23:59:59*2*1365*146*-",
    ]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode("cp1252")))
    unlabelled = (4, *EVENTS[2][1:5], None)
    assert read(tmp_path / "source", given_layout(tmp_path / "bank.yaml")) == [*EVENTS, unlabelled]


TIMES = {
    "%m/%d/%y %I:%M:%S %p": ["4/1/18 12:00:31 AM", "4/1/18 2:02:10 pm", "12/31/18 11:59:59 PM"],
    "%d%b%Y:%H:%M:%S": ["01APR2018:00:00:31", "01Apr2018:14:02:10", "31dec2018:23:59:59"],
    "%Y%m%d%H%M%S": ["20180401000031", "20180401140210", "20181231235959"],
    "%Y.%m.%d (%H-%M-%S.%f)": [
        "2018.04.01 (00-00-31.0)",
        "2018.04.01 (14-02-10.000)",
        "2018.12.31 (23-59-59.000000)",
    ],
    "%d/%m/%Y %H:%M:%S %z": [
        "01/04/2018 02:00:31 +0200",
        "01/04/2018 14:02:10 Z",
        "31/12/2018 18:59:59 -05:00",
    ],
    "seconds": ["1522540831", "1522591330.0", "1546300799"],
    "milliseconds": ["1522540831000", "1522591330000", "1546300799000"],
    "microseconds": ["1522540831000000", "1522591330000000", "1546300799000000"],
    "nanoseconds": ["1522540831000000999", "1522591330000000000", "1546300799000000000"],
    "minutes": ["25375680.516666666", "25376522.166666668", "25771679.983333334"],
}


@pytest.mark.parametrize("time", TIMES)
def test_times_are_read_as_the_layout_says(read: Read, tmp_path: Path, time: str) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text(PAYMENTS.assign(TX_DATETIME=TIMES[time])))
    assert read(tmp_path, Layout(name="theirs", columns=HANDBOOK, time=time)) == EVENTS


@pytest.mark.parametrize("type_", ["int64", "float64", "uint32", "object"])
def test_seconds_since_a_day_are_numbers_in_parquet(read: Read, tmp_path: Path, type_: str) -> None:
    since = (pd.to_datetime(PAYMENTS.TX_DATETIME) - pd.Timestamp("2018-04-01")).dt.total_seconds()
    times = since.astype("int64").astype(str) if type_ == "object" else since.astype(type_)
    PAYMENTS.assign(TX_DATETIME=times).to_parquet(tmp_path / "a.parquet")
    layout = Layout(name="theirs", columns=HANDBOOK, time="seconds", origin="2018-04-01")
    assert read(tmp_path, layout) == EVENTS


def test_a_fraction_of_a_second_and_a_moment_before_1970_are_exact(read: Read, tmp_path: Path) -> None:
    numbers = ["1522540831.123456", "-0.000001", "-1"]
    (tmp_path / "a.csv").write_bytes(csv_text(PAYMENTS.assign(TX_DATETIME=numbers)))
    expected = [
        datetime(2018, 4, 1, 0, 0, 31, 123456),
        datetime(1969, 12, 31, 23, 59, 59, 999999),
        datetime(1969, 12, 31, 23, 59, 59),
    ]
    layout = Layout(name="theirs", columns=HANDBOOK, time="seconds", origin="2001-01-01")
    shift = datetime(2001, 1, 1) - datetime(1970, 1, 1)
    assert [row[1] for row in read(tmp_path, layout)] == [moment + shift for moment in expected]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("TX_DATETIME", "2018-04-01 00:00:31", "event_time: not a time"),
        ("TX_DATETIME", "31.02.2018", "event_time: not a time"),
        ("TX_DATETIME", "13.13.2018", "event_time: not a time"),
        ("TX_AMOUNT", "12.50", "amount: not a number"),
        ("TX_AMOUNT", "1.2345,00", "amount: not a number"),
        ("TX_FRAUD", "maybe", "is_fraud: neither true nor false"),
    ],
)
def test_a_value_unlike_its_layout_is_refused_by_both(
    spark: SparkSession, tmp_path: Path, column: str, value: str, said: str
) -> None:
    rows = PAYMENTS.assign(
        TX_DATETIME=["01.04.2018", "02.04.2018", "03.04.2018"],
        TX_AMOUNT=["1,5", "1.000.000,00", "2 000,25"],
        TX_FRAUD=["Y", "n", ""],
    ).astype(str)
    layout = Layout(
        name="theirs", columns=HANDBOOK, time="%d.%m.%Y", decimal_comma=True, true=("y",), false=("N",)
    )
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "a.csv").write_bytes(csv_text(rows, sep=";"))
    good = with_arrow(tmp_path / "good", layout)
    assert [row[4:] for row in good] == [(1.5, True), (1_000_000.0, False), (2000.25, None)]
    rows.loc[1, column] = value
    (tmp_path / "a.csv").write_bytes(csv_text(rows, sep=";"))
    groups = event_files(tmp_path / "a.csv", SCHEMA, LABEL, layout=layout)
    found = check_rows(spark, groups, SCHEMA, LABEL).rows.where(f"{REASON} IS NOT NULL").collect()
    assert [row[REASON] for row in found] == [said]
    assert value in found[0]["_row"]
    with pytest.raises(InputError, match=f"column {column}: .*mlops validate"):
        with_arrow(tmp_path / "a.csv", layout)


def test_a_separator_that_nobody_would_guess_is_given(read: Read, tmp_path: Path) -> None:
    content = csv_text(sep="@").decode()
    (tmp_path / "a.csv").write_text(content, "utf-8")
    with pytest.raises(InputError, match="neither Parquet nor CSV"):
        read(tmp_path)
    assert read(tmp_path, given_layout(separator="@")) == EVENTS


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("plain.pkl", pickle.dumps(PAYMENTS), "a pickle is not read: opening one can run any code"),
        ("events.parquet", pickle.dumps(PAYMENTS), "a pickle"),
        ("events.csv", pickle.dumps([1, 2], protocol=2), "a pickle"),
        ("old.csv", pickle.dumps(PAYMENTS, protocol=0), "a pickle"),
        ("events.csv.gz", gzip.compress(pickle.dumps(PAYMENTS)), "a pickle"),
        ("events.csv.bz2", bz2.compress(pickle.dumps(PAYMENTS)), "a pickle"),
        ("events.csv.xz", lzma.compress(pickle.dumps(PAYMENTS)), "a pickle"),
        ("events.zip", zipped(**{"x/events.csv": pickle.dumps(PAYMENTS)}), "a pickle"),
        ("joblib.csv", zlib.compress(pickle.dumps(PAYMENTS)), "a pickle"),
        ("model.joblib", b"anything", "a pickle"),
        ("damaged.csv.xz", lzma.compress(csv_text())[:-9], "is damaged: it cannot be unpacked"),
        ("damaged.zip", zipped(a=csv_text())[:-9], "is damaged: it cannot be unpacked"),
        ("damaged.csv.zst", b"(\xb5/\xfd" + b"x" * 100, "is damaged: it cannot be unpacked"),
        ("table.xlsx", zipped(**{"[Content_Types].xml": b"<a/>"}), "an office document is not read"),
        ("escape.zip", zipped(**{"../../a.csv": csv_text()}), "holds a file that leads out of it: ../../a.csv"),
        ("latin.csv", csv_text().replace(b"TX_FRAUD", b"H\xe4ndler"), "no UTF-8 text; name its encoding: --encoding"),
        ("packed.parquet.gz", gzip.compress(b"PAR1 and so on", mtime=0), "compressed Parquet"),
        ("long.csv", b"a" * 300_000, "neither Parquet nor CSV"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_read_is_refused_with_the_reason(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(InputError) as caught:
            with_arrow(source)
        assert said in str(caught.value)
        assert str(caught.value).startswith(str(tmp_path / Path(name).name.split(".")[0]))


def test_text_that_is_not_in_the_given_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text(PAYMENTS.assign(CUSTOMER_ID="\u00e9")))
    with pytest.raises(InputError, match=r"a\.csv: is not ascii.*--encoding"):
        with_arrow(tmp_path, given_layout(encoding="ascii"))
    for encoding in ("klingon", "hex"):
        with pytest.raises(ConfigError, match=f"no such encoding: {encoding}"):
            with_arrow(tmp_path, given_layout(encoding=encoding))


def test_a_map_that_names_what_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text())
    theirs = [f"{ours}={name}" for ours, name in HANDBOOK.items()]
    with pytest.raises(InputError, match=r"no column AMOUNT .*the file has TRANSACTION_ID"):
        with_arrow(tmp_path, given_layout(columns=[*theirs[:4], "amount=AMOUNT"]))
    with pytest.raises(ConfigError, match="we have no column amuont; ours are transaction_id"):
        with_arrow(tmp_path, given_layout(columns=["amuont=TX_AMOUNT"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("columns: {amount: A}\ntime: later", "Layout layout: time is 'later'"),
        ("columns: {amount: A}\nspeed: 1", "unknown field `speed`"),
        ("columns: {amount: A}\ndecimal_comma: perhaps", "decimal_comma"),
        ("- a", "is no layout"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_layout_file_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "layout.yaml").write_text(text)
    with pytest.raises((InputError, ConfigError), match=said):
        given_layout(tmp_path / "layout.yaml")


def test_nothing_given_is_no_layout() -> None:
    assert given_layout() is None
    with pytest.raises(ConfigError, match="'amount' is not OURS=THEIRS"):
        given_layout(columns=["amount"])


def test_the_command_line_takes_a_layout(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = PAYMENTS.rename(columns={"TX_AMOUNT": "sum"}).assign(TX_FRAUD=["n", "y", "n"])
    (tmp_path / "a.csv").write_bytes(csv_text(foreign, sep="@"))
    (tmp_path / "theirs.yaml").write_text("true: [y]\nfalse: [n]\n")
    line = ["--home", str(tmp_path / "home"), "validate", "--json", "--force", "--separator", "@"]
    line += ["--events", str(tmp_path / "a.csv"), "--layout", str(tmp_path / "theirs.yaml")]
    maps = [f"--map={ours}={theirs}" for ours, theirs in (HANDBOOK | {"amount": "sum"}).items()]
    main([*line, *maps])
    result = json.loads(capsys.readouterr().out)
    assert (result["good"], result["layout"]) == (3, "theirs")
    with pytest.raises(SystemExit) as ended:
        main([*line, "--map", "amount"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "mlops: --map: 'amount' is not OURS=THEIRS\n"
