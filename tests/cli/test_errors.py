"""Messages of errors on the terminal, and their exit codes."""

import errno

import pytest
from hydra.errors import HydraException

from khasr.cli.errors import FAILED, MISTAKE, report_error
from khasr.config import FolderConfig
from khasr.data.corpora.folder import read_folder

NAME = "a\x1b[2J\nb\x07"
SHOWN = r"a\x1b[2J\nb\x07"


def raised_in_khasr() -> Exception:
    """A mistake in an option, whose value the message repeats."""
    with pytest.raises(FileNotFoundError) as caught:
        read_folder(FolderConfig(root=NAME))
    return caught.value


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (raised_in_khasr, MISTAKE, f"data.root={SHOWN} is not a folder"),
        (lambda: PermissionError(errno.EACCES, "Permission denied", NAME), FAILED, f"Permission denied: {SHOWN}."),
        (lambda: FileNotFoundError(errno.ENOENT, "No such file", NAME), FAILED, f"No such file: {SHOWN}."),
        (lambda: OSError(errno.ENOSPC, "No space left"), FAILED, "No space left: while writing the run."),
        (lambda: HydraException(f"Could not override {NAME}"), MISTAKE, r"Could not override a\x1b[2J b\x07"),
        (lambda: KeyError(NAME), FAILED, "KeyError"),
        (lambda: RuntimeError(NAME), FAILED, r"RuntimeError: a\x1b[2J"),
    ],
    ids=["khasr", "machine", "path", "full disk", "hydra", "bug", "bug with a message"],
)
def test_control_characters(make: object, code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No message sends control characters of a file name or an option to the terminal."""
    assert callable(make)
    assert report_error(make()) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert printed.count("\n") == 1 or "RuntimeError" in printed
