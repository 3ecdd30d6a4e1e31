"""The command that begins a use case. Heavy imports wait until it is chosen."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click
import msgspec

from pipelines.command_line import show
from pipelines.options import PATH, PLACE, as_json

__all__ = ["new_usecase"]


@click.command("new-usecase")
@click.argument("name")
@click.option(
    "--from",
    "source",
    metavar=PLACE,
    required=True,
    help="Parquet or CSV, a file or a folder of files that are alike.",
)
@click.option("--target", metavar="COLUMN", required=True, help="What is to be predicted.")
@click.option("--positive", metavar="VALUE", default="", help="Which of two values of the target is 1.")
@click.option(
    "--id", "id_", metavar="COLUMN", default="", help="The rows' id; found out, or rows are numbered."
)
@click.option(
    "--time", metavar="COLUMN", default="", help="When a row happened: then what comes later is tested on."
)
@click.option(
    "--key", "keys", metavar="COLUMN", multiple=True, help="Whose earlier rows are counted; needs --time."
)
@click.option("--into", type=PATH, help="The folder to write it into, instead of the package usecases.")
@click.option("--separator", default="", help="Of CSV fields, where it is not found out; `tab` is one.")
@click.option("--encoding", default="", help="Of text that is not UTF-8, such as latin-1 or cp1252.")
@as_json
def new_usecase(
    name: str,
    source: str,
    target: str,
    positive: str,
    id_: str,
    time: str,
    keys: tuple[str, ...],
    into: Path | None,
    separator: str,
    encoding: str,
    json_: bool,
) -> None:
    """Write the folder of a use case NAME. It learns a column of a table."""
    from pipelines.given_layout import given_layout
    from pipelines.new_usecase import Roles
    from pipelines.new_usecase import new_usecase as write

    roles = Roles(target=target, positive=positive, id=id_, time=time, keys=keys)
    layout = given_layout(separator=separator, encoding=encoding)
    sign = layout.separator if layout else ""
    written = write(name, source, roles, into=into, separator=sign, encoding=encoding)
    if json_:
        show(written, json_=True)
        return
    mlops = shlex.quote(sys.argv[0])
    path = f"PYTHONPATH={shlex.quote(written.path)} " if written.path else ""
    said = {"--separator": separator, "--encoding": encoding}
    how = [f" {option} {shlex.quote(value)}" for option, value in said.items() if value]
    events = "".join([shlex.quote(source), *how])
    example = shlex.quote(msgspec.json.encode(written.example).decode())
    print(
        f"{written.folder}: {written.task} of {written.target}, {written.features} features of {written.rows:,} rows"
    )
    for header, why in written.left_out.items():
        print(f"  left out {header or '(no header)'}: {why}")
    print(
        f"""
A person must decide in {written.decide} places:
  grep -n Decide: {shlex.quote(str(written.folder))}/*
It runs as it is:
  {path}{mlops} --usecase {written.package} run --events {events} --out runs/{name}
  {mlops} --home runs/{name} serve --no-keys
  curl -s localhost:8080/v1/score -d {example}"""
    )
