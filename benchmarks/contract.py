"""Whether a search process answers as openapi.json says, whatever it is asked: as many requests as one likes.

    python -m benchmarks.contract --url http://127.0.0.1:8000 --cases 2000

schemathesis draws requests that the description allows, and ones that it does not, for every operation below /v1/. A
complaint is a reply that the description does not have, a 5xx among them, or a wrong request that is answered as a good
one. One of its checks is left out: that a request which the schema allows is never refused. What a search may ask for
depends on what else it asks for, and on the catalogue, which OpenAPI cannot say.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import Failure, FailureGroup

from benchmarks.report import entries, machine, write

CONFIG: dict[str, Any] = {
    "operations": [
        # What is wrong with one search of a batch stands beside the answers of the others.
        {"include-path": "/v1/search/batch", "checks": {"negative_data_rejection": {"enabled": False}}}
    ],
    "checks": {
        "positive_data_acceptance": {"enabled": False},
        "negative_data_rejection": {
            "expected-statuses": [400, 401, 403, 404, 405, 413, 415, 422, 429, 431, 503]
        },
    },
}
_SHOWN = 600
"""Characters of a complaint."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True, help="a search process")
    parser.add_argument("--cases", type=int, default=2000, help="requests in all, or a few less")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    before = machine()
    load_all_checks()
    operations = operations_of(described(f"{options.url}/openapi.json"), options.url)
    started, asked, complaints = time.monotonic(), Counter[tuple[str, int]](), 0
    for operation in operations:
        complaints += ask(operation, options.cases // len(operations), options.seed, asked)
    for (name, status), count in sorted(asked.items()):
        print(f"{name:32s} {status} {count:6d}")
    found = {
        "cases": sum(asked.values()),
        "complaints": complaints,
        "seconds": round(time.monotonic() - started, 1),
    }
    write(options.json, before, list(entries(found, {"complaints": 0.0}, {})), url=options.url)
    raise SystemExit(1 if complaints else 0)


def described(source: str | Mapping[str, Any]) -> schemathesis.BaseSchema:
    """The description at an address, or as it is."""
    config = schemathesis.Config.from_dict(CONFIG)
    if isinstance(source, str):
        return schemathesis.openapi.from_url(source, config=config)
    return schemathesis.openapi.from_dict(dict(source), config=config)


def operations_of(schema: schemathesis.BaseSchema, url: str) -> list[schemathesis.APIOperation]:
    """What there is below /v1/, asked for at `url`."""
    schema.config.update(base_url=url)
    return [found.ok() for found in schema.include(path_regex="^/v1/").get_all_operations()]


def ask(
    operation: schemathesis.APIOperation, cases: int, number: int, asked: Counter[tuple[str, int]]
) -> int:
    """Send so many cases, as the description allows and as it does not; how many replies were complained about."""
    complaints = 0
    drawn = settings(
        max_examples=max(1, cases // 2),
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        @seed(number)
        @drawn
        @given(case=operation.as_strategy(generation_mode=mode))
        def one(case: schemathesis.Case) -> None:
            nonlocal complaints
            reply = case.call()
            asked[operation.label, reply.status_code] += 1
            try:
                case.validate_response(reply)
            except (Failure, FailureGroup) as failure:
                complaints += 1
                reasons = failure.exceptions if isinstance(failure, FailureGroup) else (failure,)
                print(operation.label, *(str(reason)[:_SHOWN] for reason in reasons), sep="\n  ")

        with suppress(Unsatisfiable):  # what takes anything cannot be asked wrongly
            one()
    return complaints


if __name__ == "__main__":
    main()
