from pathlib import Path

import pytest

from tests.commands import Commands


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["khasr.evaluate"], "run= is missing"),
        (["khasr.evaluate", "run=/absent"], "/absent"),
        (["khasr.evaluate", "run=/absent", "data=folder", "partt=test"], "partt"),
        (["khasr.tune", "run=/absent", "lm=/absent"], "/absent has no config.yaml"),
        (["khasr.build_lm", "--out", "lm"], "No text to build from"),
        (["khasr.transcribe", "/absent", "empty"], "empty contains no audio files"),
    ],
)
def test_mistakes(words: list[str], message: str, command: Commands, tmp_path: Path) -> None:
    """A mistake in the options is one message with exit code 2, without a traceback."""
    (tmp_path / "empty").mkdir()
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
