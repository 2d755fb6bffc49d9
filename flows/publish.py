"""Index snapshot -> live, through the quality gate and the data gate."""

from prefect import State, flow

from flows.parameters import Publish
from lookalike.errors import PublishingHeld
from tasks import stages, steps


@flow(name="publish")
def publish(parameters: Publish) -> str | State[str]:
    """Pass the gates, then make the pair live; returns the reference of the index snapshot that is live.

    Ends as *Held* where a roll-back keeps it from being published.
    """
    if why := steps.held(parameters.store, parameters.index):
        return stages.held(why)
    steps.pass_gate(
        parameters.store, parameters.index, parameters.margin, parameters.gate_queries, parameters.threads
    )
    try:
        live = steps.publish(
            parameters.store,
            parameters.index,
            parameters.replaces,
            asked_by=parameters.asked_by,
            **parameters.data_gate(),
        )
    except PublishingHeld as error:  # a roll-back came while the gate measured
        return stages.held(str(error))
    return stages.leave_reference(live)
