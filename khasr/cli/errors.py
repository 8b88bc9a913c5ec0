"""TODO."""

import dataclasses
import errno
import sys
import traceback
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from khasr.config import CONF_DIR
from khasr.run.interrupts import Interrupted

FAILED, MISTAKE = 1, 2


# Faults of the machine, not of the program: their message says all there is to say.
_MACHINE = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT)


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
    ours = bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parents[1])
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
