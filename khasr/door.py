"""What every command that reads conf/ shares: composing, help, errors in one paragraph, exit codes.

Nothing here imports torch: a mistyped key is told before that takes its seconds.
"""

import ast
import contextlib
import dataclasses
import errno
import functools
import inspect
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from khasr import config as options
from khasr.config import CONF_DIR, Config, from_plain, register_schemas, to_config, to_plain
from khasr.launch import (
    Outcome,
    Sweep,
    SweepEnded,
    SweepPlugins,
    as_given,
    as_part_of_a_sweep,
    is_unfinished,
    read_outcome,
)
from khasr.ranges import check_ranges
from khasr.training.interrupts import Interrupted, preempting_signals

FAILED, MISTAKE = 1, 2
# What of a resumed run may be changed: not what it is, but how long, where and how it is told.
_RESUMABLE = (
    "trainer.", "logger.", "decoder.", "sweep.", "score_test", "data.root", "data.cache_dir", "data.num_workers",
)  # fmt: skip
# A place in the run is a count of batches on each device; another count of them in a step would be another run.
_NOT_RESUMABLE = ("trainer.accumulate_grad_batches", "trainer.accumulated_loss", "trainer.devices", "trainer.num_nodes")
# Faults of the machine, not of the program: their message says all there is to say.
_MACHINE = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT)

Task = Callable[[Any, Path], float | None]


@dataclasses.dataclass(frozen=True)
class Root:
    """What a command's options are composed from.

    Attributes:
        name: of the file under conf/.
        complete: adds to the command line what it leaves to the run that it names.
        to_typed: the options, from what was composed and the command line.
    """

    name: str
    complete: Callable[[list[str]], list[str]]
    to_typed: Callable[[DictConfig, list[str]], Any]


def run(command: str, task: Task, root: Root | None = None) -> None:
    """Composes the configuration from the command line and runs the task with it, once or, with -m, many times.

    The task gets the typed options and the run's folder, and returns the number that sweepers minimise. A user's
    mistake is told in one paragraph; anything else keeps its traceback. HYDRA_FULL_ERROR=1 shows every traceback.

    Exits with 0, 1 (the run failed), 2 (a mistake in the options), or 128 + the signal that stopped it.
    """
    root = root or Root("config", _into_own_folder, _training_options)
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(_tell_help(command, [a for a in sys.argv[1:] if not a.startswith("-")], root.name))
    show_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and what it raised is told here
    register_schemas()
    codes: list[int] = []
    stopped = False
    sweep = Sweep()
    trains = command == "train"
    if trains:
        SweepPlugins.install(sweep)

    def job(composed: DictConfig) -> Any:
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        swept = trains and hydra_config.mode is RunMode.MULTIRUN
        try:
            typed = root.to_typed(composed, as_given(hydra_config.overrides.task))
            if swept:
                return _run_of_sweep(typed, task, folder, codes, show_tracebacks)
            check_ranges(typed)
            if not trains:
                return task(typed, folder)
            if typed.resume is None and is_unfinished(folder, typed):
                # The same command in the same folder: a scheduler that has put it back in its queue starts it so.
                typed.resume = str(folder)
            hours = typed.sweep.max_hours
            with _budget(None if hours is None else time.time() + 3600 * hours):
                return task(typed, folder)
        except Exception as error:
            if show_tracebacks:
                traceback.print_exc()
            codes.append(_tell(error))
            with contextlib.suppress(OSError):
                folder.rmdir()  # where nothing was written in it
            if swept:
                return Outcome("failed", None, codes[-1])  # a launcher's process has no other way to tell
            if isinstance(error, Interrupted):
                sys.exit(codes[-1])
            return None

    try:
        sys.argv[1:] = root.complete(sys.argv[1:])
        hydra.main(config_path=str(CONF_DIR), config_name=root.name)(job)()
    except SweepEnded:
        pass  # what came of its runs says why
    except (HydraException, OmegaConfBaseException, FileNotFoundError, ValueError) as error:
        if show_tracebacks:
            traceback.print_exc()
        codes.append(_tell(error))
    except KeyboardInterrupt:
        print("\nStopped." if sweep.outcomes else "\nStopped before the run began.", file=sys.stderr)
        stopped = True
    if sweep.outcomes:
        print(sweep.describe())
    sys.exit(130 if stopped else max([*codes, sweep.code]))


def _run_of_sweep(config: Config, task: Task, folder: Path, codes: list[int], show_tracebacks: bool) -> Outcome:
    """What came of one of a sweep's runs: whatever it is, it is told and written down, and the others go on.

    Args:
        config: as composed.
        codes: of the sweep's runs in this process before it.
    """
    if any(code >= 128 for code in codes):
        with contextlib.suppress(OSError):
            folder.rmdir()
        return Outcome("not begun", None, codes[-1])  # a signal has stopped the one before: no other is wanted
    if config.score_test:
        print("A sweep does not read the test part: score_test=false.", file=sys.stderr)
    typed = as_part_of_a_sweep(config)
    begun = False
    try:
        with _budget(config.sweep.until):
            check_ranges(typed)
            _refuse_relaunch(typed)
            if is_unfinished(folder, typed):
                typed.resume = str(folder)
            elif (there := read_outcome(folder)) and there.status in ("completed", "diverged"):
                return there  # a scheduler has started it once more
            elif not (folder / "checkpoints" / "last.ckpt").is_file():
                # Weights without all that going on needs: of a run that was killed between writing the two.
                (folder / "checkpoints" / "best.ckpt").unlink(missing_ok=True)
            begun = True
            wer = task(typed, folder)
    except Exception as error:
        if show_tracebacks:
            traceback.print_exc()
        code = _tell(error)
        if isinstance(error, Interrupted):
            if not _requeue(error.signum):  # with `codes` as they were
                code = FAILED  # of this run alone: the sweep is to begin others
            with contextlib.suppress(OSError):
                folder.rmdir()  # where nothing was written in it
        else:
            _write_failure(folder, typed, error)
        codes.append(code)
        # What is in the folder is this run's only where it came to write there.
        outcome = read_outcome(folder) if begun else None
        ended = "not begun" if isinstance(error, Interrupted) else "failed"
        return dataclasses.replace(outcome or Outcome(ended, None, code), code=code)
    return Outcome("completed", wer, 0)


@contextlib.contextmanager
def _budget(until: float | None) -> Iterator[None]:
    """While entered, the end of the budget stops the run as a signal does; one that is over lets none begin."""
    if until is None:
        yield
        return
    left = until - time.time()
    if left <= 0:
        raise Interrupted(signal.SIGALRM)

    def stop(signum: int, frame: object) -> None:
        raise Interrupted(signum)

    before = signal.signal(signal.SIGALRM, stop)  # training takes it over, to finish its step
    signal.setitimer(signal.ITIMER_REAL, left)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _requeue(signum: int) -> bool:
    """Has submitit, where it made this process, put the run back into the queue; it goes on from its checkpoint.

    Returns:
        False where submitit will not, since the run's time was over too often; it does not return where it does.
    """
    handler = signal.getsignal(signum)
    if "SUBMITIT_EXECUTOR" not in os.environ or signum not in preempting_signals() or not callable(handler):
        return True
    from submitit.core.utils import UncompletedJobError

    try:
        handler(signum, None)
    except UncompletedJobError as refused:
        print(f"{refused} It is saved (hydra.launcher.max_num_timeout allows more).", file=sys.stderr)
        return False
    return True


def _write_failure(folder: Path, config: Config, error: Exception) -> None:
    """Writes down a run that failed before it had a folder to write to."""
    if (folder / "results.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_plain(config), allow_unicode=True, sort_keys=False), "utf-8")
    results: dict[str, Any] = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    results |= {"model": config.model.name, "data": config.data.name, "seed": config.seed}
    (folder / "results.json").write_text(json.dumps(results, ensure_ascii=False, indent=2) + "\n", "utf-8")


def guarded(main: Callable[[], int]) -> int:
    """The exit code of a command without Hydra; a user's mistake is told in one paragraph, as `run` tells it."""
    try:
        return main()
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        return _tell(error)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _refuse_relaunch(config: Config) -> None:
    """Refuses a sweep's run on several devices, unless something outside has started its processes.

    Raises:
        ValueError: Lightning would start the command again for each device, sweep and all (lightning #18175).
    """
    options = config.trainer
    processes = options.devices * options.num_nodes
    if processes == 1:
        return
    started = 0
    if "SLURM_STEP_ID" in os.environ:  # srun started this process; in a batch script alone nothing is started yet
        started = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        started = int(os.environ["WORLD_SIZE"])
    if started == processes or (options.devices == -1 and started > 1):
        return
    raise ValueError(
        f"trainer.devices={options.devices} trainer.num_nodes={options.num_nodes} in a sweep (-m), where "
        f"{started or 'no'} processes have been started for the run: Lightning would start the whole sweep again for "
        "each further device. Use one device a run, or have Slurm start all "
        "of a run's processes: hydra/launcher=submitit_slurm hydra.launcher.nodes=NODES "
        "hydra.launcher.tasks_per_node=DEVICES hydra.launcher.gpus_per_node=DEVICES with trainer.num_nodes=NODES "
        "trainer.devices=DEVICES."
    )


def _tell(error: Exception) -> int:
    """Prints what went wrong and returns the exit code."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        print(_composition_error(error), file=sys.stderr)
        return MISTAKE
    if isinstance(error, Interrupted):
        return 128 + int(error.signum)  # told where it happened
    if isinstance(error, OSError) and error.errno in _MACHINE:
        print(f"{error.strerror}: {error.filename or 'while writing the run'}.", file=sys.stderr)
        return FAILED
    frames = traceback.extract_tb(error.__traceback__)
    # A message is for the user where khasr's own code raised it; from deeper down it is a fault of ours.
    ours = bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parent)
    if ours and isinstance(error, FileNotFoundError | ValueError | ModuleNotFoundError | ConnectionError):
        print(error, file=sys.stderr)
        return MISTAKE
    if ours and type(error).__module__.startswith("khasr"):
        print(error, file=sys.stderr)
    else:
        traceback.print_exception(error)
    return FAILED


def _composition_error(error: BaseException) -> str:
    """Hydra's and OmegaConf's chains of errors as one paragraph, with what exists."""
    chain = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(deeper)
    told: list[str] = []
    for link in (e for e in chain if isinstance(e, HydraException | OmegaConfBaseException)):
        text = str(link)
        for end in (
            "full_key:",
            "Available options in",
            "Config search path:",
            "To append to your config use",
            "See https://hydra.cc",
        ):
            # Where OmegaConf stood, where Hydra looked, and a hint that a typed configuration does not heed.
            text = text.split(end)[0]
        text = " ".join(text.split()).rstrip(".")
        if text and "$VALUE" not in text and text not in " ".join(told):
            told.append(text.replace("?.", "?"))
    if any(isinstance(link, OverrideParseException) for link in chain):
        told.append(
            """A value with other signs than letters, digits and /_-.: is quoted twice: "data.root='/a (b)/c'\""""
        )
    keys = next((k for k in map(_beside, chain) if k), [])
    if keys:
        told.append(f"There are: {', '.join(keys)}")
    return f"{'. '.join(told)}. (--help lists every option and choice.)".replace("?.", "?")


def _beside(error: BaseException) -> list[str]:
    """What there is where a key or a choice was looked for."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group = (CONF_DIR / str(error.missing_cfg_file)).parent
        return sorted(choice.stem for choice in group.glob("*.yaml"))
    kind = getattr(error, "object_type", None)
    if isinstance(error, ConfigKeyError | AttributeError) and dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return []


# ------------------------------------------------------------------------------------------------------------ resuming


def _parse(overrides: list[str]) -> list[Override]:
    parsed: list[Override] = OverridesParser.create().parse_overrides(overrides)
    return parsed


def _into_own_folder(arguments: list[str]) -> list[str]:
    """The arguments, with Hydra's folder set to that of the resumed run, or of the trial of a wandb agent."""
    for argument in arguments:
        if argument.startswith("resume=") and argument != "resume=":
            folder = Path(str(_parse([argument])[0].value())).expanduser()
            if {"-m", "--multirun"} & set(arguments):
                raise ValueError(
                    f"-m with resume={folder}: a sweep makes new runs. Without -m that run goes on; the command of a "
                    "sweep, started again, goes on with all of its runs."
                )
            if not (folder / "config.yaml").is_file():
                raise FileNotFoundError(
                    f"resume={folder}: no config.yaml there. Expected the folder of a run, as `python -m khasr.train` "
                    "prints it."
                )
            return [*arguments, f"hydra.run.dir={quote(str(folder))}"]
    sweep, run_id = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    if sweep and run_id and not any(a.startswith(("hydra.run.dir=", "-m", "--multirun")) for a in arguments):
        # By its name: wandb starts a trial that was preempted again under it.
        return [*arguments, f"hydra.run.dir={quote(f'runs/wandb_{sweep}/{run_id}')}"]
    return arguments


def _training_options(composed: DictConfig, overrides: list[str]) -> Config:
    return _resumed(composed.resume, overrides) if composed.resume else to_config(composed)


def _resumed(folder: str, overrides: list[str]) -> Config:
    """The configuration of a run that is gone on with, changed by what may be.

    Raises:
        ValueError: an override that would make it another run.
        OmegaConfBaseException: an option that does not exist.
    """
    path = Path(folder).expanduser() / "config.yaml"
    typed = from_plain(yaml.safe_load(path.read_text(encoding="utf-8")))
    for override in _parse(list(overrides)):
        key = override.key_or_group
        if key == "resume":
            continue
        if not key.startswith(_RESUMABLE) or key in _NOT_RESUMABLE:
            changeable = ", ".join(f"{r}*" if r.endswith(".") else r for r in _RESUMABLE)
            raise ValueError(
                f"{override.input_line} cannot go with resume={folder}, which goes on with that run as it is; only "
                f"{changeable} may change, each by its name, and not {', '.join(_NOT_RESUMABLE)}. A new run from its "
                f"weights: model.checkpoint={folder}."
            )
        OmegaConf.update(typed, key, override.value())
    typed.resume = folder
    return to_config(typed)


def quote(value: str) -> str:
    """A value as Hydra's grammar takes it, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


# ---------------------------------------------------------------------------------------------------------------- help


def _tell_help(command: str, overrides: list[str], root: str) -> int:
    """Prints the groups' choices and every option with its value, as composed, and its documentation."""
    register_schemas()
    try:
        with initialize_config_dir(str(CONF_DIR)):
            composed = compose(root, overrides=overrides)
        required = OmegaConf.missing_keys(composed)
        for key in required:
            OmegaConf.update(composed, key, "")  # a placeholder: only objects without missing values can be built
        config = OmegaConf.to_object(composed)
        check_ranges(config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return _tell(error)
    module = sys.modules["__main__"].__doc__ or ""
    lines = [
        module.strip(),
        "",
        f"python -m khasr.{command} [-m] [GROUP=CHOICE ...] [OPTION=VALUE ...]",
        "",
        "Groups and choices:",
    ]
    of_command = [path for path in CONF_DIR.iterdir() if path.is_dir() and (root == "config" or path.name in composed)]
    for group in sorted(of_command):
        lines.append(f"  {group.name}={'|'.join(sorted(choice.stem for choice in group.glob('*.yaml')))}")
    lines += ["", "Options, with their values under the choices made here:"]
    lines += _describe(config, "", required)
    lines += [
        "",
        "--cfg job prints the composed configuration; -m runs every combination of comma-separated values;",
        "--hydra-help tells Hydra's own flags.",
    ]
    print("\n".join(lines))
    return 0


def _describe(section: Any, prefix: str, required: set[str]) -> list[str]:
    documentation = _field_documentation()
    lines = []
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            lines += _describe(value, f"{name}.", required)
            continue
        owner = next(k for k in type(section).__mro__ if field.name in documentation.get(k.__name__, {}) or k is object)
        text = documentation.get(owner.__name__, {}).get(field.name, (type(section).__doc__ or "").split("\n")[0])
        shown = "??? (required)" if name in required else "null" if value is None else value
        lines.append(f"  {name}={shown}\n      {text}")
    return lines


@functools.cache
def _field_documentation() -> dict[str, dict[str, str]]:
    """The string under each field of each class in config.py: Python itself drops it."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(options)).body:
        if isinstance(node, ast.ClassDef):
            fields = found.setdefault(node.name, {})
            for before, after in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(before, ast.AnnAssign)
                    and isinstance(before.target, ast.Name)
                    and isinstance(after, ast.Expr)
                    and isinstance(after.value, ast.Constant)
                ):
                    fields[before.target.id] = " ".join(str(after.value.value).split())
    return found
