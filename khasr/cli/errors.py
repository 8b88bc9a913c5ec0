"""Reports an exception to the user, and chooses the exit code."""

import dataclasses
import errno
import io
import sys
import traceback
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from khasr.config import CONF_DIR
from khasr.run.interrupts import Interrupted
from khasr.text.terminal import printable

FAILED, MISTAKE = 1, 2
"""Exit codes: the run failed; a mistake in the options or in the input."""

# Faults of the machine, whose own message is sufficient; so is that of every fault of a path.
_MACHINE = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT)
# OmegaConf's position, Hydra's search path, and a hint that does not apply to a typed configuration.
_NOISE = (
    "full_key:",
    "Available options in",
    "Config search path:",
    "To append to your config use",
    "See https://hydra.cc",
)


def tolerate_terminal() -> None:
    """Has standard output and error escape characters that the terminal's encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def report_error(error: Exception) -> int:
    """Prints an error on standard error and returns the exit code.

    A user's mistake, a damaged file or a fault of the machine is one paragraph; anything else has its traceback.
    """
    if isinstance(error, Interrupted):
        return 128 + int(error.signum)  # reported where it was raised
    if isinstance(error, HydraException | OmegaConfBaseException):
        _print(_composition_error(error))
        return MISTAKE
    if isinstance(error, OSError) and error.errno and (error.filename or error.errno in _MACHINE):
        _print(f"{error.strerror}: {error.filename or 'while writing the run'}.")
        return FAILED
    frames = traceback.extract_tb(error.__traceback__)
    # A message is written for the user where khasr itself raised the error; deeper ones are faults of khasr.
    ours = bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parents[1])
    if ours and isinstance(error, FileNotFoundError | ValueError | ModuleNotFoundError | ConnectionError):
        _print(str(error))
        return MISTAKE
    if ours and type(error).__module__.startswith("khasr"):
        _print(str(error))
    else:
        for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
            _print(line)
    return FAILED


def _print(message: str) -> None:
    """Prints a message on standard error as one line, with the control characters of names in it escaped."""
    print(printable(message), file=sys.stderr)


def _composition_error(error: BaseException) -> str:
    """A chain of errors of Hydra and OmegaConf as one paragraph, with the options or choices that exist."""
    chain = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(deeper)
    sentences: list[str] = []
    for link in (e for e in chain if isinstance(e, HydraException | OmegaConfBaseException)):
        text = str(link)
        for noise in _NOISE:
            text = text.split(noise)[0]
        text = " ".join(text.split()).rstrip(".")
        if text and "$VALUE" not in text and text not in " ".join(sentences):
            sentences.append(text.replace("?.", "?"))
    if any(isinstance(link, OverrideParseException) for link in chain):
        sentences.append(
            """A value with characters other than letters, digits and /_-.: is quoted twice: "data.root='/a (b)/c'\""""
        )
    existing = next((names for names in map(_existing, chain) if names), [])
    if existing:
        sentences.append(f"Available: {', '.join(existing)}")
    return f"{'. '.join(sentences)}. (--help lists every option and choice.)".replace("?.", "?")


def _existing(error: BaseException) -> list[str]:
    """The options of the section, or the choices of the group, in which a name was not found."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group = (CONF_DIR / str(error.missing_cfg_file)).parent
        return sorted(choice.stem for choice in group.glob("*.yaml"))
    kind = getattr(error, "object_type", None)
    if isinstance(error, ConfigKeyError | AttributeError) and dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return []
