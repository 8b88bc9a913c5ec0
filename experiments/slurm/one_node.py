"""A one-node Slurm in a temporary folder: munged, slurmctld and slurmd of Debian's packages on loopback."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
NODE = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SlurmdParameters=config_overrides
JobRequeue=1
ReturnToService=2
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why no Slurm can be started here; None if it can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not found. Install them: apt-get install --no-install-recommends slurm-wlm munge"
    if os.getuid() != 0:
        return "the daemons start jobs under any user and therefore need root."
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "no address"
    if not address.startswith("127."):
        return f"{socket.gethostname()} has {address}; add it to /etc/hosts as 127.0.0.1 for this check."
    return None


@contextlib.contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands use the node. Its daemons keep their files in `folder`."""
    folder.chmod(0o755)  # munged requires that every user can reach its socket
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    configuration = folder / "slurm.conf"
    configuration.write_text(NODE.format(host=socket.gethostname(), folder=folder, ports=_free_ports()))
    # Commands of an enclosing job would otherwise act on that job.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SUBMITIT_"))}
    environment["SLURM_CONF"] = str(configuration)
    files = {"socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munged.seed"}
    munged = ["munged", "--foreground", f"--key-file={key}", *(f"--{k}={folder / name}" for k, name in files.items())]
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            with (folder / f"{command[0]}.out").open("wb") as out:
                daemons.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))
            time.sleep(1)
        _await_idle(environment, folder, daemons)
        yield environment
    finally:
        if all(daemon.poll() is None for daemon in daemons):
            for words in (["--full", "--signal=KILL"], []):  # ends the jobs that are left
                subprocess.run(["scancel", *words, "--user=root"], env=environment, timeout=60, check=False)
            time.sleep(2)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]


def _await_idle(environment: dict[str, str], folder: Path, daemons: list["subprocess.Popen[bytes]"]) -> None:
    """Waits until the node accepts jobs.

    Raises:
        RuntimeError: a daemon ended, or the node does not become idle.
    """
    for _ in range(60):
        for daemon in daemons:
            if daemon.poll() is not None:
                name = str(daemon.args[0])  # type: ignore[index]
                raise RuntimeError(f"{name} ended with {daemon.returncode}: {(folder / f'{name}.out').read_text()}")
        state = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True, check=False
        ).stdout.strip()
        if state == "idle":
            return
        time.sleep(1)
    raise RuntimeError(f"The node is not idle after a minute but {state or 'unknown to slurmctld'}.")
