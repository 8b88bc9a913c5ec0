"""What becomes of a run that a signal stopped in a process of submitit: it is requeued, or its job ends."""

import os
import re
import signal
import subprocess
import sys
import time

from khasr.run.interrupts import preempting_signals


def requeue(signum: int) -> bool:
    """Requeues the run if this is a process of submitit; the run then resumes from its checkpoint.

    A preempting signal is passed to submitit, which requeues the job and ends this process. After SIGTERM in a job of
    Slurm, this waits for Slurm to kill the job, because a returned outcome would end the run for the sweep: if the job
    has been requeued (`scontrol requeue`, preemption), the run resumes in its next start. It returns if the job has
    been cancelled or its time is over.

    Returns:
        False if submitit refuses because the run timed out too often.
    """
    if signum == signal.SIGTERM and os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
        print(
            "The run is saved. Slurm sends SIGTERM before it requeues a job and before it cancels one: waiting for it "
            f"to do so. If it does neither, cancel the job: scancel {os.environ['SLURM_JOB_ID']}",
            file=sys.stderr,
            flush=True,
        )
        while not _job_has_ended():
            time.sleep(1)  # Slurm kills the process KillWait seconds after the signal, by default 30
        return True
    handler = signal.getsignal(signum)
    if "SUBMITIT_EXECUTOR" not in os.environ or signum not in preempting_signals() or not callable(handler):
        return True
    from submitit.core.utils import UncompletedJobError

    try:
        handler(signum, None)
    except UncompletedJobError as refused:
        print(f"{refused} The run is saved (hydra.launcher.max_num_timeout allows more).", file=sys.stderr)
        return False
    return True


def _job_has_ended() -> bool:
    """Whether Slurm ends this job without starting it again; False if Slurm does not answer."""
    job = os.environ["SLURM_JOB_ID"]
    command = ["scontrol", "--oneliner", "show", "job", job]
    try:
        jobs = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    # A job that is being cancelled and one that is being requeued are both COMPLETING; the latter has one more restart.
    found = re.search(rf"^JobId={job} .*\bJobState=(\w+) .*\bRestarts=(\d+) ", jobs, re.MULTILINE)
    return found is not None and found[1] not in ("RUNNING", "SUSPENDED") and int(found[2]) == _restarts()


def _restarts() -> int:
    """The number of times Slurm had restarted the job when this process began."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))
