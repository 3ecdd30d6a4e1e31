"""The lifecycle as a pipeline of Kubeflow: built from the steps' components, and compiled.

    ingest ─▶ features ─▶ plan ─▶ train ─▶ judge ─▶ register ─▶ fill-store ─▶ promote ─▶ monitor
                                 one each of a candidate      if a version was admitted  if asked for

and `conclude`, whatever happens.

Only training is cached: its result depends on nothing but its parameters, the image and the feature table, which a
parameter names by its fingerprint, and lies in its artifact as a whole. The other steps change the home, or depend on
what it holds; those that are long know themselves what they have done already.
"""

from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from mlops.storage import replace_file
from pipelines import kubeflow_components as components
from pipelines.kubeflow_pods import Options, on_accelerator, placed

__all__ = ["COMPILED", "NAME", "build", "compile_pipeline"]

NAME = "mlops-lifecycle"
COMPILED = Path(__file__).with_suffix(".yaml")


def build(options: Options) -> Any:
    """The pipeline. Its parameters are those of `mlops run` and `mlops monitor`; an empty text is none given."""

    @dsl.pipeline(name="deploy", description="Backfill and promotion of a version, if there is one.")
    def deploy(version: str):  # type: ignore[no-untyped-def]  # Kubeflow reads the missing annotation as no output
        with dsl.If(version != "", name="a version was admitted"):
            filled = placed(components.fill_store(version=version), options)
            placed(components.promote(version=version), options).after(filled)

    @dsl.pipeline(
        name=NAME, description="From events to a champion: one step of pipelines/lifecycle.py a task."
    )
    def lifecycle(  # type: ignore[no-untyped-def]
        events: str = "s3://raw-events",
        as_of: str = "",
        force: bool = False,
        train_from: str = "",
        effort: str = "quick",
        candidates: list[str] = [],  # noqa: B006  # Kubeflow's way to say so
        seed: int = 0,
        monitor: bool = False,
        monitor_as_of: str = "",
        against: str = "",
    ):
        end = placed(components.conclude(), options).set_display_name("say how it ended")
        with dsl.ExitHandler(end, name="the lifecycle"):
            ingested = placed(
                components.ingest(source=events, as_of=as_of, force=force), options
            ).set_display_name("ingest and validate")
            table = placed(components.features(events=ingested.outputs["events"]), options)

            def planned(only: Any, besides: list[str]) -> Any:
                wanted = components.plan(
                    table=table.outputs["table"],
                    train_from=train_from,
                    effort=effort,
                    only=only,
                    besides=besides,
                )
                return placed(wanted, options).output

            def compete(training: Any) -> tuple[Any, Any]:
                trained = placed(
                    components.train(
                        candidate=training.candidate,
                        first_day=training.first_day,
                        fingerprint=training.fingerprint,
                        effort=effort,
                        seed=seed,
                    ),
                    options,
                ).set_caching_options(True)
                judged = placed(components.judge(model=trained.outputs["model"]), options)
                return trained, judged.set_display_name("evaluate and gate")

            special = list(options.accelerated)
            trainings = planned(candidates, special)
            with dsl.ParallelFor(trainings, parallelism=options.parallel, name="candidates") as training:
                trained, judged = compete(training)
            entered = {
                "models": dsl.Collected(trained.outputs["model"]),
                "verdicts": dsl.Collected(judged.outputs["verdict"]),
            }
            if special:
                trainings = planned(special, [])
                with dsl.ParallelFor(trainings, parallelism=options.parallel, name="accelerated") as training:
                    trained, judged = compete(training)
                    on_accelerator(trained, options)
                entered["more_models"] = dsl.Collected(trained.outputs["model"])
                entered["more_verdicts"] = dsl.Collected(judged.outputs["verdict"])
            registered = placed(components.register(**entered), options)
            deployed = deploy(version=registered.outputs["Output"]).set_caching_options(False)
            with dsl.If(monitor == True, name="monitoring is asked for"):  # noqa: E712
                placed(components.monitor(as_of=monitor_as_of, against=against), options).after(deployed)

    return lifecycle


def compile_pipeline(options: Options, target: Path) -> None:
    """Write the pipeline's intermediate representation, what a Kubeflow cluster runs."""
    with replace_file(target) as path:
        renamed = path.with_suffix(".yaml")  # the compiler goes by the name
        compiler.Compiler().compile(build(options), str(renamed))
        renamed.rename(path)
