"""Index snapshot -> live, through the quality gate."""

from prefect import flow

from flows.parameters import Publish
from tasks import stages, steps


@flow(name="publish")
def publish(parameters: Publish) -> str:
    """Pass the gate, then make the pair live; returns the reference of the index snapshot that is live."""
    steps.pass_gate(
        parameters.store, parameters.index, parameters.margin, parameters.gate_queries, parameters.threads
    )
    return stages.leave_reference(steps.publish(parameters.store, parameters.index, parameters.replaces))
