"""Files of events as they come: which there are, what they hold, and the rows of those that are alike.

Parquet and CSV, one file or a folder of them. Nothing is trusted but the content: a name says nothing about the
format, and the files of a folder may differ in column types, column order and delimiter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mlops.errors import ConfigError, InputError
from mlops.layout import Layout
from mlops.schema import EventSchema, Label
from mlops.storage import is_leftover
from pipelines.numbering import spark_row_ids
from pipelines.recognise import Field, fields_of
from pipelines.spark import literal_path

__all__ = ["FILE", "WRONG_FIELDS", "Files", "event_files", "files_at", "layouts_of"]

FILE = "_file"
WRONG_FIELDS = "_wrong_fields"  # a CSV line, where it has more or fewer fields than the header

_CANONICAL = "canonical"
_NUMBERS = (T.IntegralType, T.FractionalType)
_TIMES = (T.TimestampType, T.TimestampNTZType, T.DateType)
_ACCEPTED: dict[str, tuple[type[T.DataType], ...]] = {
    "id": _NUMBERS,
    "timestamp": _TIMES,
    "decimal": _NUMBERS,
    "float": _NUMBERS,
    "integer": _NUMBERS,
    "text": _NUMBERS,
    "boolean": (*_NUMBERS, T.BooleanType),
}


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """Files with the same columns in the same format. `columns` maps ours, where there, to theirs.

    `FILE` names a file by so many parts of its path.
    """

    paths: tuple[Path, ...]
    layout: Layout
    columns: dict[str, Field]
    header: tuple[str, ...] = ()
    delimiter: str = ""
    name_parts: int = 1

    @property
    def is_csv(self) -> bool:
        return bool(self.delimiter)

    @property
    def held(self) -> dict[str, Field]:
        """The columns that the files have themselves."""
        return {ours: field for ours, field in self.columns.items() if not field.numbered}

    def rows(self, spark: SparkSession) -> DataFrame:
        """All rows: our columns as they stand in the files, `FILE`, and `WRONG_FIELDS`."""
        paths = [literal_path(path) for path in self.paths]
        if self.is_csv:
            # By position, because nothing keeps a header from naming a column twice.
            fields = [T.StructField(f"_{n}", T.StringType()) for n in range(len(self.header))]
            frame = (
                spark.read.schema(T.StructType([*fields, T.StructField(WRONG_FIELDS, T.StringType())]))
                .option("columnNameOfCorruptRecord", WRONG_FIELDS)
                .options(sep=self.delimiter, header=True, escape='"', columnPruning=False)
                .options(ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True)
                .csv(paths)
            )

            def there(field: Field) -> Column:
                return F.col(f"_{self.header.index(field.name)}")
        else:
            there = _value
            held = {part.name: part for field in self.held.values() for part in field.parts or (field,)}
            read = [part for part in held.values() if not isinstance(part.type, T.NullType)]
            fields = [T.StructField(part.name, part.type or T.NullType()) for part in read]
            frame = spark.read.schema(T.StructType(fields)).parquet(*paths)
            frame = frame.withColumn(WRONG_FIELDS, F.lit(None).cast("string"))
        ours = [
            (_joined_text([there(part) for part in field.parts]) if field.parts else there(field)).alias(name)
            for name, field in self.held.items()
        ]
        made = self.columns.keys() - self.held.keys()
        ours += [spark_row_ids(self.paths, csv=self.is_csv).alias(name) for name in made]
        return frame.select(*ours, self._file_name().alias(FILE), WRONG_FIELDS)

    def _file_name(self) -> Column:
        if self.name_parts == 1:
            return F.col("_metadata.file_name")
        encoded = F.substring_index("_metadata.file_path", "/", -self.name_parts)
        return F.url_decode(F.replace(encoded, F.lit("+"), F.lit("%2B")))


def _value(field: Field) -> Column:
    if isinstance(field.type, T.NullType):
        return F.lit(None).cast("string")
    column = F.col("`" + field.name.replace("`", "``") + "`")
    if field.nanoseconds:  # rounded down, before 1970 too; `div` rounds towards zero
        return F.timestamp_micros(F.call_function("div", column - F.pmod(column, F.lit(1000)), F.lit(1000)))
    return column


def _joined_text(parts: Sequence[Column]) -> Column:
    """The values joined by a space; null where one is missing."""
    texts = [F.nullif(F.trim(part.cast("string")), F.lit("")) for part in parts]
    return F.concat(*(piece for text in texts for piece in (F.lit(" "), text)))


def event_files(
    source: Path,
    schema: EventSchema,
    label: Label,
    only: Sequence[Path] | None = None,
    layout: Layout | None = None,
) -> list[Files]:
    """The event files at `source`, or `only` these of them, those alike together. Only headers and footers are read.

    Their layout is ours or one of the schema's, unless it is given: see `layouts_of`.

    Raises:
        InputError: there is none, one cannot be read, is neither Parquet nor CSV, or lacks a column, or has one of a
            wrong type.
    """
    try:
        return _event_files(
            files_at(source) if only is None else only, schema, label, layouts_of(schema, layout)
        )
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}", where=error.filename or source
        ) from None


def _event_files(
    paths: Sequence[Path], schema: EventSchema, label: Label, layouts: Sequence[Layout]
) -> list[Files]:
    known = {name for layout in layouts for column in schema.columns for name in layout.names(column.name)}
    # Only where all say it must it be one of these; a layout may also be that of a Parquet file.
    separators = "".join(layout.separator for layout in layouts) if all(x.separator for x in layouts) else ""
    alike: dict[object, list[tuple[Path, tuple[Field, ...], str]]] = {}
    for path in paths:
        fields, delimiter = fields_of(path, known, separators)
        key = (delimiter, tuple((f.name, f.described) for f in fields))
        alike.setdefault(key, []).append((path, fields, delimiter))
    groups = []
    name_parts = _name_parts(paths)
    for members in alike.values():
        first, fields, delimiter = members[0]
        layout, columns = _resolve(first, fields, schema, label, layouts)
        groups.append(
            Files(
                paths=tuple(path for path, _, _ in members),
                layout=layout,
                columns=columns,
                header=tuple(f.name for f in fields),
                delimiter=delimiter,
                name_parts=name_parts,
            )
        )
    return groups


def _name_parts(paths: Sequence[Path]) -> int:
    """From how many parts of its path on no two files have one name."""
    parts = 1
    while len({path.absolute().parts[-parts:] for path in paths}) < len(set(paths)):
        parts += 1
    return parts


def files_at(source: Path) -> list[Path]:
    """The file, or all of a folder and of those in it, in order; names with a dot or an underscore first are not files.

    Raises:
        InputError: there is none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError("no such file or folder", where=source)
    paths = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file() and not any(_ignored(Path(part)) for part in path.relative_to(source).parts)
    ]
    if not paths:
        raise InputError("the folder holds no file", where=source, todo="put Parquet or CSV files into it")
    return paths


def _ignored(part: Path) -> bool:
    return is_leftover(part) or part.name.startswith((".", "_"))


def layouts_of(schema: EventSchema, given: Layout | None = None) -> list[Layout]:
    """The layouts that files may have, ours last: the schema's, or the `given` one.

    What one says that is given without columns goes for each of the schema's layouts. Ours is last because one of the
    schema's may have the same names, and other ways to write values.

    Raises:
        ConfigError: the given one names a column that is none of ours.
    """
    ours = [column.name for column in schema.columns]
    if given is not None and (unknown := set(given.columns) - set(ours)):
        raise ConfigError(
            f"we have no column {', '.join(sorted(unknown))}",
            where=f"layout {given.name}",
            todo=f"ours are {', '.join(ours)}",
        )
    if given is not None and given.columns:
        return [given]
    known = [*schema.layouts, Layout(name=_CANONICAL)]
    said = {} if given is None else msgspec.to_builtins(given)
    plain = msgspec.to_builtins(Layout(name=said.get("name", "")))
    said = {field: getattr(given, field) for field, value in said.items() if value != plain[field]}
    return [msgspec.structs.replace(layout, **said) for layout in known]


def _resolve(
    path: Path, fields: tuple[Field, ...], schema: EventSchema, label: Label, layouts: Sequence[Layout]
) -> tuple[Layout, dict[str, Field]]:
    """The first layout whose columns are all there, but optional ones, and its columns by our names."""
    there = {field.name: field for field in fields}
    optional = {label.column, *(c.name for c in schema.columns if c.optional)}
    optional |= {schema.id} if schema.numbered else set()
    nearest: tuple[list[str], Layout] | None = None
    for layout in layouts:
        missing = [n for c in schema.columns if c.name not in optional for n in layout.names(c.name)]
        missing = [name for name in missing if name not in there]
        if not missing:
            theirs = {c.name: layout.names(c.name) for c in schema.columns}
            columns = {
                ours: _joined(path, [there[name] for name in names])
                for ours, names in theirs.items()
                if there.keys() >= set(names)
            }
            for ours, field in columns.items():
                _check_type(path, field, schema.column(ours).type, layout)
            if schema.id not in columns:
                columns[schema.id] = Field(schema.id, T.StringType(), "numbered", numbered=True)
            return layout, columns
        if nearest is None or len(missing) < len(nearest[0]):
            nearest = (missing, layout)
    missing, layout = nearest or ([], layouts[0])
    known = [
        f"{layout.name} ({', '.join(n for c in schema.columns for n in layout.names(c.name))})"
        for layout in layouts
    ]
    raise InputError(
        f"no column {', '.join(missing)} (layout {layout.name}); the file has {', '.join(there)}",
        where=path,
        todo=f"layouts known: {'; '.join(known)}; another is named with --map OURS=THEIRS or --layout",
    )


def _joined(path: Path, parts: Sequence[Field]) -> Field:
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        if not isinstance(part.type, (T.StringType, T.IntegralType, T.DateType)) or part.nanoseconds:
            raise InputError(f"column {part.name} is {part.described}, and cannot be joined", where=path)
    return Field(" + ".join(part.name for part in parts), T.StringType(), "text", parts=tuple(parts))


def _check_type(path: Path, field: Field, wanted: str, layout: Layout) -> None:
    accepted = _NUMBERS + _TIMES if wanted == "timestamp" and layout.counts_time else _ACCEPTED[wanted]
    fits = isinstance(field.type, (T.StringType, T.NullType, *accepted))
    if not (fits and not field.nanoseconds) and not (field.nanoseconds and wanted == "timestamp"):
        raise InputError(f"column {field.name} is {field.described}, which is no {wanted}", where=path)
