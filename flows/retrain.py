"""The whole way with a new model release: curate, train, extract, index, publish."""

from prefect import State, flow

from flows.curate import curate
from flows.extract import extract
from flows.index import index
from flows.parameters import Curate, Extract, Index, Publish, Retrain, Train, TrainOnNodes
from flows.publish import publish
from flows.train import train, train_on_nodes
from lookalike.errors import PublishingHeld
from tasks import stages, steps
from tasks.stages import run_stage


@flow(name="retrain")
def retrain(parameters: Retrain = Retrain()) -> str | State[str]:
    """Train on the current catalogue and publish model and index as one; the old pair serves until then.

    Ends as *Held* before anything is trained where a roll-back holds publishing.
    """
    store, threads = parameters.store, parameters.threads
    if why := steps.held(store):
        return stages.held(why)
    steps.check_weights(store, parameters.weights)
    began_with = steps.live_release(store)
    asked = parameters.model_dump(include=set(Curate.model_fields))
    curating = Curate(**asked, parts=parameters.curate_parts)
    curated = run_stage(curate, curating)
    training = Train(
        store=store,
        threads=threads,
        curated=curated,
        recipe=parameters.recipe,
        weights=steps.starting_weights(store, parameters.weights, curated, parameters.recipe.value),
    )
    if parameters.nodes > 1:
        shared = TrainOnNodes(**training.model_dump(), nodes=parameters.nodes)
        release = run_stage(train_on_nodes, shared)
    else:
        release = run_stage(train, training)
    # The inventory as it is after hours of training, in the categories that were learned.
    curated = run_stage(curate, curating.model_copy(update={"release": release}))
    extraction = run_stage(
        extract,
        Extract(
            store=store,
            threads=threads,
            curated=curated,
            release=release,
            parts=parameters.extract_parts,
        ),
    )
    built = run_stage(
        index, Index(store=store, threads=threads, extraction=extraction, shards=parameters.shards)
    )
    try:
        live = run_stage(
            publish,
            Publish(
                store=store,
                threads=threads,
                index=built,
                replaces=began_with,
                margin=parameters.margin,
                gate_queries=parameters.gate_queries,
                asked_by=parameters.asked_by,
                **parameters.data_gate(),
            ),
        )
    except PublishingHeld as error:
        return stages.held(str(error))
    steps.retain(store, parameters.keep_records, parameters.grace_hours)
    return live
