"""A bundle is what was signed, or it is not read."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from mlops.bundle import FILES, Bundle, Decisions, Golden, Schema, open_bundle, write_bundle
from mlops.errors import BundleError, ConfigError, IntegrityError
from mlops.features import Count, FeatureSet, Rolling, Value
from mlops.schema import Column, EventSchema, Label
from mlops.signature import SIGNATURE
from mlops.signer import sign
from mlops.signing import PRIVATE_KEY, PUBLIC_KEY, ensure_keys, load_private_key, load_public_key

FEATURES = FeatureSet((Value(column="amount"), Rolling(key="card", agg=Count(), windows=("1d", "7d"))))
SCHEMA = Schema(
    events=EventSchema(
        id="id",
        time="at",
        columns=(
            Column(name="id", type="id"),
            Column(name="at", type="timestamp"),
            Column(name="card", type="id"),
            Column(name="amount", type="decimal", decimals=2),
        ),
    ),
    label=Label(column="is_fraud", delay_days=7),
    whole_number_ids=("id",),
)
DECISIONS = Decisions(review_at=0.2, decline_at=0.7, chosen_by="least cost")
GOLDEN = Golden(features=[[1.0, 2.0, 3.0]], scores=[0.25])


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def bundle(tmp_path: Path, keys: Path) -> Path:
    write(tmp_path / "bundle", keys)
    return tmp_path / "bundle"


def write(target: Path, keys: Path, model: bytes = b"a graph") -> str:
    return write_bundle(
        target,
        keys=keys,
        model=model,
        features=FEATURES,
        schema=SCHEMA,
        decisions=DECISIONS,
        golden=GOLDEN,
        reference=[[1.0, 1.0, 1.0], [2.0, 0.5, 1.0]],
        card="# A card\n",
        evaluation=b'{"ap": 0.6}',
        report="<h1>An evaluation</h1>",
        manifest={
            "name": "fraud",
            "candidate": "trees",
            "framework": "scikit-learn",
            "created_at": "2018-08-01T00:00:00+00:00",
            "run_id": "r1",
            "metrics": {"ap": 0.6},
        },
    )


def read(bundle: Path, keys: Path) -> Bundle:
    return open_bundle(bundle, public_key=keys / PUBLIC_KEY)


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path, keys: Path) -> None:
    digest = write(tmp_path / "bundle", keys)
    found = read(tmp_path / "bundle", keys)
    assert found.digest == digest
    assert found.model == b"a graph"
    assert (found.features, found.schema, found.decisions, found.golden) == (
        FEATURES,
        SCHEMA,
        DECISIONS,
        GOLDEN,
    )
    assert found.card == "# A card\n"
    assert found.reference == [[1.0, 1.0, 1.0], [2.0, 0.5, 1.0]]
    assert (found.path / "evaluation.json").read_bytes() == b'{"ap": 0.6}'
    assert (found.path / "evaluation.html").read_text() == "<h1>An evaluation</h1>"
    assert (found.manifest.candidate, found.manifest.metrics) == ("trees", {"ap": 0.6})


def test_one_flipped_byte_of_any_file_is_refused(bundle: Path, keys: Path) -> None:
    for name in FILES:
        path = bundle / name
        good = path.read_bytes()
        for at in range(0, len(good), max(1, len(good) // 7)):
            flipped = bytearray(good)
            flipped[at] ^= 1 << (at % 8)
            path.write_bytes(flipped)
            with pytest.raises(IntegrityError, match=name) as refused:
                read(bundle, keys)
            assert refused.value.todo
        path.write_bytes(good)
    assert read(bundle, keys).model == b"a graph"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle: Path, keys: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=name) as refused:
        read(bundle, keys)
    assert refused.value.todo


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file_is_refused(
    bundle: Path, keys: Path, tmp_path: Path, name: str
) -> None:
    (bundle / name).rename(tmp_path / name)
    (bundle / name).symlink_to(tmp_path / name)
    with pytest.raises(IntegrityError, match=f"{name}: is not a file but a link"):
        read(bundle, keys)


def add_a_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("")


def add_a_hidden_file(folder: Path) -> None:
    (folder / ".hidden").write_text("")


def add_a_file_of_git(folder: Path) -> None:
    (folder / ".gitignore").write_text("*")


def add_a_subfolder(folder: Path) -> None:
    (folder / "sub").mkdir()


def add_a_file_in_a_subfolder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "model.onnx").write_bytes(b"another graph")


def add_a_link(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "model.onnx")


def add_a_dead_link(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "nowhere")


ADDED = [
    add_a_file,
    add_a_hidden_file,
    add_a_file_of_git,
    add_a_subfolder,
    add_a_file_in_a_subfolder,
    add_a_link,
    add_a_dead_link,
]


@pytest.mark.parametrize("add", ADDED, ids=[add.__name__ for add in ADDED])
def test_whatever_was_added_is_refused(bundle: Path, keys: Path, add: Callable[[Path], None]) -> None:
    add(bundle)
    with pytest.raises(IntegrityError, match="is not among what was signed") as refused:
        read(bundle, keys)
    assert "remove it" in refused.value.todo


def test_nothing_is_parsed_before_it_is_checked(bundle: Path, keys: Path) -> None:
    for name in FILES:
        if name != SIGNATURE:
            (bundle / name).write_bytes(b"{ not even JSON")
    with pytest.raises(IntegrityError, match="is not the file that was signed"):
        read(bundle, keys)


def test_a_bundle_signed_with_a_foreign_key_is_refused(bundle: Path, keys: Path, tmp_path: Path) -> None:
    ensure_keys(tmp_path / "other")
    write(tmp_path / "forged", tmp_path / "other", model=b"another graph")
    for name in ("model.onnx", SIGNATURE):
        (bundle / name).write_bytes((tmp_path / "forged" / name).read_bytes())
    with pytest.raises(IntegrityError, match="was signed with another key"):
        read(bundle, keys)
    text = (bundle / SIGNATURE).read_text()  # and it does not help to say that it was ours
    theirs, ours = (hint(folder) for folder in (tmp_path / "other", keys))
    assert theirs in text
    (bundle / SIGNATURE).write_text(text.replace(theirs, ours))
    with pytest.raises(IntegrityError, match="the signature does not match"):
        read(bundle, keys)


def hint(keys: Path) -> str:
    return hashlib.sha256((keys / PUBLIC_KEY).read_bytes()).hexdigest()


def test_a_signed_folder_that_lacks_a_part_is_no_bundle(bundle: Path, keys: Path) -> None:
    (bundle / "policy.json").unlink()
    sign(bundle, keys)
    with pytest.raises(BundleError, match="holds"):
        read(bundle, keys)


def test_a_signed_part_that_does_not_hold_what_it_should_is_named(bundle: Path, keys: Path) -> None:
    (bundle / "reference.json").write_text('[["a"]]')
    sign(bundle, keys)
    with pytest.raises(BundleError, match=r"reference\.json: Expected `float`"):
        read(bundle, keys)


def test_a_bundle_of_an_older_version_says_so(bundle: Path, keys: Path) -> None:
    (bundle / SIGNATURE).rename(bundle / "manifest.sig")
    with pytest.raises(BundleError, match=r"signed as by an older version.*; train and promote again"):
        read(bundle, keys)


def test_there_is_one_list_of_digests_and_it_names_the_model(bundle: Path, keys: Path) -> None:
    signature = json.loads((bundle / SIGNATURE).read_bytes())
    statement = json.loads(base64.b64decode(signature["dsseEnvelope"]["payload"]))
    (subject,) = statement["subject"]
    assert subject == {"name": "fraud", "digest": {"sha256": read(bundle, keys).digest}}
    listed = {each["name"]: each["digest"] for each in statement["predicate"]["resources"]}
    found = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in FILES[:-1]}
    assert listed == found
    assert not any(digest in (bundle / "manifest.json").read_text() for digest in listed.values())


def test_the_same_content_has_the_same_digest_whoever_signed_it(keys: Path, tmp_path: Path) -> None:
    ensure_keys(tmp_path / "other")
    digests = {write(tmp_path / name, tmp_path / key) for name, key in [("a", "keys"), ("b", "other")]}
    assert digests == {write(tmp_path / "a", keys)}
    assert digests != {write(tmp_path / "a", keys, model=b"another graph")}


def test_reading_loads_no_signing_library() -> None:
    code = "import sys, mlops.bundle; print({n.partition('.')[0] for n in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "cryptography" in ran.stdout
    assert not [name for name in ("model_signing", "sigstore", "pydantic") if f"'{name}'" in ran.stdout]


def test_writing_again_replaces_the_whole_bundle(bundle: Path, keys: Path) -> None:
    before = read(bundle, keys).digest
    (bundle / "stray").write_bytes(b"")
    assert write(bundle, keys, model=b"a newer graph") != before
    assert read(bundle, keys).model == b"a newer graph"
    assert not (bundle / "stray").exists()


def test_a_write_that_fails_leaves_the_old_bundle(bundle: Path, keys: Path, tmp_path: Path) -> None:
    before = read(bundle, keys).digest
    with pytest.raises(ConfigError, match="no such key"):
        write(bundle, tmp_path / "no-keys", model=b"unsigned")
    assert read(bundle, keys).digest == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "keys"]


def test_writers_that_make_keys_at_once_end_with_one_pair(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        together = Barrier(6)

        def make(folder: Path = folder, together: Barrier = together) -> None:
            together.wait()
            ensure_keys(folder)

        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(make) for _ in range(6)]:
                done.result()
        assert load_private_key(folder).public_key() == load_public_key(folder / PUBLIC_KEY)
        assert sorted(path.name for path in folder.iterdir()) == [PRIVATE_KEY, PUBLIC_KEY]
        assert (folder / PRIVATE_KEY).stat().st_mode & 0o777 == 0o600


def test_a_lost_public_key_is_made_from_the_private_one(keys: Path, bundle: Path) -> None:
    (keys / PUBLIC_KEY).unlink()
    ensure_keys(keys)
    assert read(bundle, keys).model == b"a graph"


def test_decisions_include_their_thresholds() -> None:
    scores = (0.1999, 0.2, 0.6999, 0.7, 1.0)
    assert [DECISIONS.decide(s) for s in scores] == ["approve", "review", "review", "decline", "decline"]
