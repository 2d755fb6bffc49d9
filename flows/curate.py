"""Catalogue -> curated snapshot, by one run or by several that share the new photos."""

from prefect import flow

from flows.parameters import Curate, CuratePart
from tasks import stages, steps


@flow(name="curate")
def curate(parameters: Curate = Curate()) -> str:
    """Check the catalogue and its photos; returns the reference of the curated snapshot."""
    store, catalogue, columns = parameters.store, parameters.catalogue, parameters.columns
    config, layout = parameters.curation(), parameters.layout()
    if parameters.parts > 1:
        plan, runs = steps.plan_curation(store, catalogue, columns, config, layout)
        parts = min(parameters.parts, runs)
        shared = parameters.model_dump() | {"plan": plan, "parts": parts}
        stages.run_parts(curate_part, [CuratePart(**shared, part=part) for part in range(parts)])
    return stages.leave_reference(steps.curate(store, catalogue, columns, config, parameters.release, layout))


@flow(name="curate-part")
def curate_part(parameters: CuratePart) -> None:
    """Read, check and store one part of the new photos; `curate` finds what all parts have stored."""
    steps.curate_part(
        parameters.store,
        parameters.catalogue,
        parameters.curation(),
        parameters.layout(),
        parameters.plan,
        parameters.part,
        parameters.parts,
    )
