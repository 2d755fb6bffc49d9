"""Curated snapshot and model release -> codes, by one run or by several that share the photos."""

from prefect import flow

from flows.parameters import Extract, ExtractPart
from tasks import stages, steps


@flow(name="extract")
def extract(parameters: Extract) -> str:
    """Encode the photos that have no code yet; returns the reference of the extraction."""
    store, curated, release = parameters.store, parameters.curated, parameters.release
    if parameters.parts > 1:
        asked = [ExtractPart(**parameters.model_dump(), part=part) for part in range(parameters.parts)]
        stages.run_parts(extract_part, asked)
    return stages.leave_reference(
        steps.extract(store, curated, release, parameters.shard_size, parameters.threads)
    )


@flow(name="extract-part")
def extract_part(parameters: ExtractPart) -> None:
    """Encode one part of the photos and store their code shards; `extract` names the shards of all parts."""
    steps.extract_part(
        parameters.store,
        parameters.curated,
        parameters.release,
        parameters.part,
        parameters.parts,
        parameters.shard_size,
        parameters.threads,
    )
