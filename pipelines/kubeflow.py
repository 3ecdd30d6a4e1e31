"""The lifecycle as a pipeline of Kubeflow: built from the steps' components, and compiled.

    ingest ─▶ features ─▶ plan ─▶ train ─▶ judge ─▶ register ─▶ fill-store ─▶ promote ─▶ monitor
                                 one each of a candidate      if asked for and a version  if asked for
                                                              was admitted

and `conclude`, whatever happens.

Only training is cached: what its result follows from is in its parameters, the data, policy and code as digests of the
plan, and it lies in its artifact as a whole. The other steps change the home, or depend on what it holds; those that
are long know themselves what they have done already.

No task, loop or group has a name of its own: a cluster looks for outputs under the name that is shown, and finds none
if that is another than the task's key (kubeflow/pipelines#13239, #11173).
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
    def deploy(version: str, promote: bool):  # type: ignore[no-untyped-def]  # without an annotation, no output
        with dsl.If(promote == True), dsl.If(version != ""):  # noqa: E712
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
        promote: bool = False,
        monitor: bool = False,
        monitor_as_of: str = "",
        against: str = "",
    ):
        with dsl.ExitHandler(placed(components.conclude(), options)):
            ingested = placed(components.ingest(source=events, as_of=as_of, force=force), options)
            table = placed(components.features(events=ingested.outputs["events"]), options)

            def planned(among: list[str], besides: list[str]) -> Any:
                wanted = components.plan(
                    table=table.outputs["table"],
                    train_from=train_from,
                    effort=effort,
                    only=candidates,
                    seed=seed,
                    among=among,
                    besides=besides,
                )
                return placed(wanted, options).output

            def compete(training: Any) -> tuple[Any, Any]:
                trained = placed(
                    components.train(
                        candidate=training.candidate,
                        first_day=training.first_day,
                        fingerprint=training.fingerprint,
                        key=training.key,
                        effort=effort,
                        seed=seed,
                    ),
                    options,
                ).set_caching_options(True)
                return trained, placed(components.judge(model=trained.outputs["model"]), options)

            special = list(options.accelerated)
            trainings = planned([], special)
            with dsl.ParallelFor(trainings, parallelism=options.parallel) as training:
                trained, judged = compete(training)
            entered = {
                "models": dsl.Collected(trained.outputs["model"]),
                "verdicts": dsl.Collected(judged.outputs["verdict"]),
            }
            if special:
                trainings = planned(special, [])
                with dsl.ParallelFor(trainings, parallelism=options.parallel) as training:
                    trained, judged = compete(training)
                    on_accelerator(trained, options)
                entered["more_models"] = dsl.Collected(trained.outputs["model"])
                entered["more_verdicts"] = dsl.Collected(judged.outputs["verdict"])
            registered = placed(components.register(**entered), options)
            deployed = deploy(version=registered.outputs["Output"], promote=promote).set_caching_options(
                False
            )
            with dsl.If(monitor == True):  # noqa: E712
                placed(components.monitor(as_of=monitor_as_of, against=against), options).after(deployed)

    return lifecycle


def compile_pipeline(options: Options, target: Path) -> None:
    """Write the pipeline's intermediate representation, what a Kubeflow cluster runs."""
    with replace_file(target) as path:
        renamed = path.with_suffix(".yaml")  # the compiler goes by the name
        compiler.Compiler().compile(build(options), str(renamed))
        renamed.rename(path)
