"""Runs whose process was killed: each costs only itself, and the sweep waits for the others."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


def report_lost(error: BaseException) -> None:
    """Prints that a process was lost; its run is counted as failed."""
    print(f"A process of the sweep ended unexpectedly: {error}", file=sys.stderr)


@contextlib.contextmanager
def separate_losses() -> Iterator[None]:
    """While entered, a killed job of submitit returns None.

    Hydra's launcher reads the results of all jobs in turn, and would leave the others running at the first error.
    """
    from submitit.core.core import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    results = Job.results

    def results_or_none(job: "Job[Any]") -> list[Any]:
        try:
            return results(job)
        except (FailedJobError, UncompletedJobError) as error:
            report_lost(error)
            return [None]

    Job.results = results_or_none  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Job.results = results  # type: ignore[method-assign]
