"""What the server takes from its command line and from its environment, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import ConfigError
from serving.option_table import OPTIONS
from serving.options import Options, options_of

NEEDED = ["--pointer", "/p", "--store", "/s", "--decisions", "/d", "--public-key", "/k"]


def test_the_command_line_wins_over_the_environment_and_that_over_what_is_usual() -> None:
    env = {"MLOPS_SERVING_PORT": "9000", "MLOPS_SERVING_WORKERS": "3", "MLOPS_SERVING_FSYNC": "true"}
    options = options_of([*NEEDED, "--no-keys", "--port", "9001"], env)
    assert (options.port, options.workers, options.fsync, options.queue) == (9001, 3, True, 128)


def test_everything_can_come_from_the_environment() -> None:
    env = {
        "MLOPS_SERVING_POINTER": "/p",
        "MLOPS_STORE": "redis://:s3cret@here",
        "MLOPS_SERVING_DECISIONS": "/d",
        "MLOPS_SERVING_PUBLIC_KEY": "/k",
        "MLOPS_SERVING_AUDIT": "/a",
        "MLOPS_SERVING_KEYS": "/keys.json",
        "MLOPS_SERVING_HOST": "0.0.0.0",
        "MLOPS_SERVING_MAX_BODY_MB": "0.5",
        "MLOPS_SERVING_ROTATE_MB": "2",
        "MLOPS_SERVING_ROTATE_MINUTES": "1.5",
        "MLOPS_SERVING_MAX_FUTURE_HOURS": "2",
        "MLOPS_SERVING_FSYNC": "0",
    }
    options = options_of([], env)
    assert (options.store, options.audit, options.keys) == (
        "redis://:s3cret@here",
        Path("/a"),
        Path("/keys.json"),
    )
    assert (options.max_body_bytes, options.rotate_bytes) == (2**19, 2**21)
    assert (options.rotate_seconds, options.max_future_seconds, options.fsync) == (90.0, 7200.0, False)


def test_a_worker_reads_the_options_that_the_supervisor_wrote() -> None:
    options = options_of([*NEEDED, "--keys", "/keys.json", "--drain-seconds", "3"], {})
    assert Options.from_json(options.to_json()) == options
    assert b"\n" not in options.to_json()


def test_the_audit_log_lies_with_the_decisions_unless_said_otherwise() -> None:
    assert options_of([*NEEDED, "--no-keys"], {}).audit == Path("/d")


def test_of_keys_and_no_keys_the_command_line_s_word_counts() -> None:
    options = options_of([*NEEDED, "--no-keys"], {"MLOPS_SERVING_KEYS": "/keys.json"})
    assert (options.no_keys, options.keys) == (True, None)
    options = options_of([*NEEDED, "--keys", "/keys.json"], {"MLOPS_SERVING_NO_KEYS": "1"})
    assert (options.no_keys, options.keys) == (False, Path("/keys.json"))


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ([], "--keys: nothing says who may ask; make a key with `mlops keys create`"),
        (["--host", "0.0.0.0"], "--keys: nothing says who may ask"),
        (["--no-keys", "--keys", "/k"], "both --keys and --no-keys"),
        (["--no-keys", "--host", "0.0.0.0"], "--host: --no-keys lets everybody in who reaches 0.0.0.0"),
        (["--no-keys", "--host", "127.evil.example"], "--no-keys lets everybody in"),
        (["--no-keys", "--host", "::"], "--no-keys lets everybody in"),
        (["--no-keys", "--port", "70000"], "--port: 70000 is not a port; name one from 0 to 65535"),
        (["--no-keys", "--workers", "0"], "--workers: '0' does not fit; name one from 1 to 256"),
        (["--no-keys", "--queue", "many"], "--queue: 'many' does not fit"),
        (["--no-keys", "--poll-seconds", "nan"], "--poll-seconds: 'nan' does not fit"),
        (["--no-keys", "--timeout-seconds", "inf"], "--timeout-seconds: 'inf' does not fit"),
        (["--no-keys", "--log-format", "xml"], "--log-format: 'xml' does not fit; name json or text"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(more: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        options_of([*NEEDED, *more], {})
    assert line in raised.value.line()
    assert "\n" not in raised.value.line()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_no_keys_need_be_asked_for(host: str) -> None:
    assert options_of([*NEEDED, "--no-keys", "--host", host], {}).no_keys


@pytest.mark.parametrize("name", ["--pointer", "--store", "--decisions", "--public-key"])
def test_what_is_not_named_is_asked_for(name: str) -> None:
    at = NEEDED.index(name)
    with pytest.raises(ConfigError, match=f"^{name}: is not named"):
        options_of([*NEEDED[:at], *NEEDED[at + 2 :], "--no-keys"], {})


def test_a_misspelt_variable_is_refused_and_the_nearest_one_is_named() -> None:
    for variable, meant in [
        ("MLOPS_SERVING_QUEUEE", "MLOPS_SERVING_QUEUE"),
        ("MLOPS_SERVING_STORE", "MLOPS_STORE"),
        ("MLOPS_SERVING_port", "MLOPS_SERVING_PORT"),
    ]:
        with pytest.raises(ConfigError) as raised:
            options_of([*NEEDED, "--no-keys"], {variable: "5", "MLOPS_SERVED": "elsewhere"})
        assert raised.value.line() == f"{variable}: no such variable; did you mean {meant}?"


def test_what_kubernetes_sets_for_a_service_of_that_name_is_refused_with_the_way_out() -> None:
    links = {"MLOPS_SERVING_SERVICE_HOST": "10.0.0.1", "MLOPS_SERVING_PORT": "tcp://10.0.0.1:80"}
    with pytest.raises(ConfigError, match=r"^MLOPS_SERVING_SERVICE_HOST: .*enableServiceLinks: false"):
        options_of([*NEEDED, "--no-keys"], links)


def test_a_variable_that_does_not_fit_is_named_by_its_own_name() -> None:
    with pytest.raises(ConfigError, match=r"^MLOPS_SERVING_PORT: tcp://10\.0\.0\.1:80 is not a port"):
        options_of([*NEEDED, "--no-keys"], {"MLOPS_SERVING_PORT": "tcp://10.0.0.1:80"})


def test_an_option_that_there_is_not_is_one_line() -> None:
    with pytest.raises(ConfigError, match="unrecognized arguments: --quue 5; --help"):
        options_of([*NEEDED, "--quue", "5"], {})


@pytest.mark.parametrize("store", ["foo://x", "http://[", "s3://bucket/store", "redis://:s3/cret@host"])
def test_a_store_that_there_never_will_be_is_refused(store: str) -> None:
    with pytest.raises(ConfigError, match=r"^--store: ") as raised:
        options_of([*NEEDED, "--no-keys", "--store", store], {})
    assert "s3" not in raised.value.what.replace("s3:", "")


def test_the_table_of_options_in_the_document_is_complete() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `--")]
    assert rows == [
        f"| `{option.argument}` | `{option.variable}` | {option.help} | {option.usual or 'none'} |"
        for option in OPTIONS
    ]


def test_what_the_table_says_is_usual_is_so() -> None:
    options = options_of([*NEEDED, "--no-keys"], {})
    for option in OPTIONS:
        if option.usual[:1].isdigit():
            assert getattr(options, option.field) == option.read(option.usual), option.name
