"""What a use case may not be."""

from __future__ import annotations

import msgspec
import pytest

from mlops.contract import Candidate, load_dotted, load_use_case
from mlops.errors import ConfigError
from mlops.features import FeatureSet, Rolling, Sum, Value
from mlops.policy import Costs, DecisionLog, Policy, RandomSplit, Split
from mlops.schema import Column, EventSchema, Label
from mlops.search import Float
from mlops.slices import Slice

FRAUD = load_use_case("usecases.fraud")
PLAIN = (Candidate(name="one", framework="scikit-learn", builder="training.builders:logistic_regression"),)
RENT = msgspec.structs.replace(
    FRAUD,
    name="rent",
    events=EventSchema(
        id="flat",
        numbered=True,
        columns=(
            Column(name="flat", type="id"),
            Column(name="area", type="float"),
            Column(name="rent", type="decimal", decimals=2, nullable=True),
        ),
    ),
    label=Label(column="rent"),
    features=FeatureSet((Value(column="area"),)),
    candidates=PLAIN,
    slices=(),
    policy=Policy(split=RandomSplit()),
    card="",
    amount="",
)


def test_a_use_case_without_candidates_is_refused() -> None:
    with pytest.raises(ConfigError, match="no candidates"):
        msgspec.structs.replace(FRAUD, candidates=())


@pytest.mark.parametrize("package", ["usecases.nonesuch", "usecases", "usecases.fraud.events"])
def test_a_package_that_is_no_use_case_is_named(package: str) -> None:
    with pytest.raises(ConfigError, match=package.rpartition(".")[2]):
        load_use_case(package)


@pytest.mark.parametrize("package", ["../x", "", ".fraud", "usecases/fraud", "use cases"])
def test_what_cannot_be_a_package_s_name_is_refused(package: str) -> None:
    with pytest.raises(ConfigError, match="is not the name of a module"):
        load_use_case(package)


def test_the_label_says_what_is_learned() -> None:
    assert FRAUD.task == "classification"
    assert RENT.task == "regression"


def test_a_label_that_is_neither_a_boolean_nor_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="flat is id"):
        msgspec.structs.replace(RENT, label=Label(column="flat"))


def test_events_without_a_time_cannot_be_split_by_it() -> None:
    with pytest.raises(ConfigError, match="no time to split them by"):
        msgspec.structs.replace(RENT, policy=Policy())


def test_windows_are_not_split_at_random() -> None:
    with pytest.raises(ConfigError, match="need a split by time"):
        msgspec.structs.replace(FRAUD, policy=Policy(split=RandomSplit()))


def test_a_quantity_has_no_costs() -> None:
    with pytest.raises(ConfigError, match="counted by class"):
        msgspec.structs.replace(RENT, policy=Policy(split=RandomSplit(), costs=Costs()))


def test_a_quantity_is_not_looked_back_on() -> None:
    past = Rolling(key="customer_id", agg=Sum(column="amount"), windows=("1d",), delay="7d")
    with pytest.raises(ConfigError, match="a window looks at amount"):
        msgspec.structs.replace(
            FRAUD,
            candidates=PLAIN,
            slices=(),
            label=Label(column="amount", delay_days=7),
            features=FeatureSet((past,)),
            policy=Policy(),
            card="",
            amount="",
        )


def test_a_dotted_path_leads_to_what_it_names() -> None:
    assert load_dotted("mlops.features:FeatureSet") is FeatureSet
    with pytest.raises(ConfigError, match="has no 'Counted'"):
        load_dotted("mlops.features:Counted")


def candidates(*changes: dict[str, object]) -> tuple[Candidate, ...]:
    return tuple(msgspec.structs.replace(PLAIN[0], **change) for change in changes)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (candidates({}, {}), "two candidates have one name"),
        (candidates({"effort": "full"}), "no candidate for effort quick"),
        (
            candidates({"features": FeatureSet((Value(column="rooms"),))}),
            "candidate one reads rooms, which the use case does not declare",
        ),
        (candidates({"search": {"c": Float(0.1, 10.0)}}), "c"),
        (candidates({"name": "a/b"}), "'a/b' is no name"),
        (candidates({"calibration": "sigmoid"}), "a quantity is not calibrated"),
    ],
)
def test_candidates_that_cannot_be_trained_are_refused(found: tuple[Candidate, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        msgspec.structs.replace(RENT, candidates=found)


@pytest.mark.parametrize("source", [{"column": "rooms"}, {"feature": "rooms"}])
def test_a_slice_of_what_is_not_there_is_refused(source: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="rooms"):
        msgspec.structs.replace(RENT, slices=(Slice(name="size", **source),))


def test_a_candidate_is_found_by_its_name() -> None:
    use_case = msgspec.structs.replace(RENT, candidates=candidates({}, {"name": "two"}))
    assert use_case.candidate("two").name == "two"
    assert use_case.features_of(use_case.candidate("two")) == RENT.features
    with pytest.raises(ConfigError, match=r"no candidate 'three'.*choose one of one, two"):
        use_case.candidate("three")


def test_calibration_needs_events_between_training_and_test() -> None:
    unwaited = Policy(split=RandomSplit(train=0.6, validation=0.0, test=0.4))
    changes = {"features": FeatureSet((Value(column="amount"),)), "slices": (), "card": ""}
    with pytest.raises(ConfigError, match="no events to calibrate on"):
        msgspec.structs.replace(
            FRAUD, candidates=candidates({"calibration": "isotonic"}), policy=unwaited, **changes
        )


def test_a_split_that_does_not_wait_for_labels_is_refused() -> None:
    hasty = msgspec.structs.replace(FRAUD.policy, split=Split(train_days=7, delay_days=6, test_days=7))
    with pytest.raises(ConfigError, match="labels are known after 7 days, and the split waits 6"):
        msgspec.structs.replace(FRAUD, policy=hasty)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("customer", "no column 'customer'"),
        ("transaction_id", "is the event's id"),
        ("is_fraud", "of the label"),
        ("amount", "amount is decimal"),
        ("event_time", "event_time is timestamp"),
    ],
)
def test_only_ids_and_free_text_of_the_events_are_hashed(column: str, said: str) -> None:
    hashed = msgspec.structs.replace(FRAUD.policy, decisions=DecisionLog(hash=(column,)))
    with pytest.raises(ConfigError, match=said):
        msgspec.structs.replace(FRAUD, policy=hashed)
    terminal = msgspec.structs.replace(FRAUD.policy, decisions=DecisionLog(hash=("terminal_id",)))
    assert msgspec.structs.replace(FRAUD, policy=terminal).policy.decisions.hash == ("terminal_id",)
