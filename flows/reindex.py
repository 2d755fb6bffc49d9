"""The current catalogue under the live model release: curate, extract what is new, index, publish."""

from prefect import State, flow

from flows.curate import curate
from flows.extract import extract
from flows.index import index
from flows.parameters import Curate, Extract, Index, Publish, Reindex
from flows.publish import publish
from lookalike.errors import PublishingHeld
from tasks import stages, steps
from tasks.stages import run_stage


@flow(name="reindex")
def reindex(parameters: Reindex = Reindex()) -> str | State[str]:
    """New listings become searchable and sold ones go; codes are extracted for new photos alone.

    What is published is a delta where that is cheaper than a new index; where nothing has changed, what is live stays.

    Ends as *Held* before anything is read where a roll-back holds publishing.
    """
    store, threads = parameters.store, parameters.threads
    if why := steps.held(store):
        return stages.held(why)
    release = steps.live_release(store)
    curating = Curate(
        store=store,
        threads=threads,
        catalogue=parameters.catalogue,
        release=release,
        **steps.live_curation(store),
    )
    curated = run_stage(curate, curating)
    extraction = run_stage(extract, Extract(store=store, threads=threads, curated=curated, release=release))
    indexing = Index(
        store=store,
        threads=threads,
        extraction=extraction,
        shards=parameters.shards,
        difference=not parameters.base,
    )
    built = run_stage(index, indexing)
    try:
        live = run_stage(
            publish,
            Publish(
                store=store,
                threads=threads,
                index=built,
                replaces=release,
                asked_by=parameters.asked_by,
                **parameters.data_gate(),
            ),
        )
    except PublishingHeld as error:
        return stages.held(str(error))
    steps.retain(store, parameters.keep_records, parameters.grace_hours)
    return live
