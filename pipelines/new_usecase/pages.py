"""The files of a use case's folder, from a draft."""

from __future__ import annotations

import msgspec

from mlops.features import FeatureSet
from mlops.policy import Policy
from pipelines.new_usecase.code import assigned, comment, imported
from pipelines.new_usecase.draft import Draft

__all__ = ["pages"]

_FUTURE = "from __future__ import annotations"


def pages(draft: Draft, package: str, source: str, seen: str) -> dict[str, str]:
    """The content of each file of the folder, by its name.

    Args:
        package: what the folder is imported as, such as usecases.churn.
        source: what the file is called.
        seen: what was looked at of it, such as: all 891 rows.
    """
    return {
        "__init__.py": _init(draft, package, source),
        "events.py": _events(draft, source, seen),
        "features.py": _features(draft),
        "policy.yaml": _policy(draft),
        "model_card.md": _card(draft, source),
    }


def _init(draft: Draft, package: str, source: str) -> str:
    use_case = draft.use_case
    fields = "".join(
        assigned(f"    {name}", value, {}).removesuffix("\n").replace(" = ", "=", 1) + ",\n"
        for name, value in (("name", use_case.name), ("title", use_case.title))
    )
    imports = "\n".join(
        sorted(
            (
                imported("mlops.contract", ["Candidate", "UseCase"]),
                imported("mlops.policy", ["Policy"]),
                imported(f"{package}.events", ["EVENTS", "LABEL"]),
                imported(f"{package}.features", ["FEATURES"]),
            )
        )
    )
    candidates = assigned("candidates", use_case.candidates, {}).removeprefix("candidates = ").rstrip("\n")
    return f'''"""{use_case.title}: predicts {_what(draft)}, learned from {source}."""

{_FUTURE}

from pathlib import Path

{imports}

__all__ = ["USE_CASE"]

USE_CASE = UseCase(
{fields}    events=EVENTS,
    label=LABEL,
    features=FEATURES,
    # Decide: which other models may compete. A builder of your own can use any framework.
    candidates={_indented(candidates)},
    policy=Policy.from_yaml(Path(__file__).with_name("policy.yaml")),
)
'''


def _indented(code: str) -> str:
    return code.replace("\n", "\n    ")


def _what(draft: Draft) -> str:
    column = draft.use_case.label.column
    return (
        f"whether {column} is {draft.target.positive!r}"
        if draft.target.is_class
        else f"the quantity {column}"
    )


def _events(draft: Draft, source: str, seen: str) -> str:
    events, label = draft.use_case.events, draft.use_case.label
    names = ["Column", "EventSchema", "Label", *(["Layout"] if events.layouts else [])]
    comments = dict(draft.comments)
    comments[id(events.columns)] = [
        "Decide: what values can be at all. `minimum=0` stands where none was below; give `maximum`, and `values` to "
        "texts, and rows that do not fit are set apart with the reason."
    ]
    return "\n".join(
        [
            f'"""What a row of {source} is, and how that file writes it; inferred from {seen}."""',
            "",
            _FUTURE,
            "",
            imported("mlops.schema", names),
            "",
            '__all__ = ["EVENTS", "LABEL"]',
            "",
            assigned("EVENTS", events, comments),
            *(comment(line) for line in _about_label(draft)),
            assigned("LABEL", label, {}),
        ]
    )


def _about_label(draft: Draft) -> list[str]:
    label, lines = draft.use_case.label, []
    if label.delay_days:
        lines.append(f"The labels of the file's last {label.delay_days} days are not there yet.")
    if draft.use_case.events.time:
        lines.append(
            "Decide: after how many days is a label known (`delay_days`)? Younger events are not trained on."
        )
    if draft.target.is_class:
        lines.append("Decide: what is an event called, in the singular, for which it is true (`positive`)?")
    else:
        lines.append("Decide: in what unit is it? Give that to the column, and to the features.")
    return lines


def _features(draft: Draft) -> str:
    features = draft.use_case.features
    parts = [*features.features, *(f.agg for f in features.features if hasattr(f, "agg"))]
    names = {FeatureSet.__name__, *(type(part).__name__ for part in parts)}
    lines = [
        '"""What the model reads of an event."""',
        "",
        _FUTURE,
        "",
        imported("mlops.features", sorted(names)),
        "",
        '__all__ = ["FEATURES"]',
        "",
        comment(
            "Decide: is each of these known at the moment when the model is asked? What is written down only later "
            "is a leak. Descriptions and units end in the model card."
        ),
        assigned("FEATURES", features, draft.comments).rstrip("\n"),
    ]
    if draft.left_out:
        lines += ["", comment("Left out. Decide: which of them says something, and as what?")]
        lines += [comment(f"- {header}: {why}") for header, why in draft.left_out.items()]
    return "\n".join([*lines, ""])


def _policy(draft: Draft) -> str:
    policy, plan, shown = draft.use_case.policy, draft.plan, msgspec.to_builtins(draft.use_case.policy)
    gate, performance = shown["gate"], shown["performance"]
    span = f", {plan.days[0]} to {plan.days[1]}" if plan.days else ""
    about = f"In the file{span}: {plan.train:,} rows to train on, {plan.test:,} to test on."
    lines = ["# The numbers that people tune. What each means is written at its class in mlops/policy.py."]
    if draft.target.is_class:
        own = {
            "min_test_positives": f"of {plan.test_positives:,} in the file",
            "min_auc": "Decide: below what is the model of no use?",
            "baseline_margin": "average precision; no worse than the best single feature",
            "champion_margin": "better than the champion beyond chance",
            "max_calibration_error": "what scores may miscount, as a share of the positives",
            "max_importance": "of one feature: the more is one's alone, the likelier it is a leak",
        }
        watched = ("min_drop", "min_positives")
    else:
        own = {
            "min_test_events": f"of {plan.test:,} in the file",
            "constant_margin": "Decide: by what share must it err less than a constant?",
            "baseline_margin": "no worse than the best single feature",
            "champion_margin": "better than the champion beyond chance",
            "max_bias": "of the mean prediction, as a share of the root mean squared error",
            "max_importance": "of one feature: the more is one's alone, the likelier it is a leak",
        }
        watched = ("max_rise", "min_events")
    split = ", ".join(f"{key}: {value}" for key, value in shown["split"].items() if key != "seed")
    lines += [f"# {about}", f"split: {{ {split} }}", "gate:"]
    lines += [f"  {key}: {gate[key]} # {text}" for key, text in own.items()]
    lines += [
        f"drift: {{ method: {policy.drift.method}, threshold: {policy.drift.threshold}, share: {policy.drift.share} }}",
        f"performance: {{ {', '.join(f'{key}: {performance[key]}' for key in watched)} }}",
    ]
    if draft.target.is_class:
        lines.append(
            "# Decide: what right and wrong decisions cost (`costs`, see Costs). Without, the answer is a score."
        )
    text = "\n".join([*lines, ""])
    assert msgspec.yaml.decode(text, type=Policy) == policy
    return text


def _card(draft: Draft, source: str) -> str:
    return f"""## Intended use

Decide: who asks this model, about what, and what is done with the answer? It predicts {_what(draft)}. What must it not
be used for?

## Limits

Decide: whom or what do the rows of {source} stand for, and whom do they leave out? When were they collected, and
what has changed since? Which errors are worse than others, and for whom?
"""
