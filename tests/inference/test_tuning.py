import json
import os
import shutil
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from khasr.config import DecoderConfig, TuneConfig
from khasr.inference.tuning import RANGES, Range, Tuned, decoder_of, describe_edges, describe_gain, tune, tune_run
from khasr.inference.tuning_picture import draw_trials
from khasr.run.folder import RunFolder
from khasr.scoring.significance import Difference
from tests.decoding.test_greedy import VOCABULARY, frames, write_lm


def test_tuned_not_worse(tmp_path: Path) -> None:
    """The decoder that was given is the first trial, so the best is at least as good on the same utterances."""
    rng = np.random.default_rng(1)
    log_probs = [frames("a-b", 0.6)[0].numpy() + rng.normal(0, 0.5, (3, len(VOCABULARY))) for _ in range(12)]
    log_probs = [(x - np.log(np.exp(x).sum(1, keepdims=True))).astype(np.float32) for x in log_probs]
    options = DecoderConfig(name="beam_lm", lm=str(write_lm(tmp_path)))
    found = tune(options, VOCABULARY, log_probs, ["ab"] * 12, trials=12, seed=0, report=lambda _: None)
    assert found.wer <= found.untuned
    assert (sum(found.edits) / 12, sum(found.edits_untuned) / 12) == (found.wer, found.untuned)
    assert len(found.trials) == 12
    assert (found.trials[0]["alpha"], found.trials[0]["beta"]) == (0.5, 1.5)


def test_out(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that cannot be written to is tuned with out=, which gets the decoder; the run stays as it is."""
    run = RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))
    assert run.log_probs is not None
    shutil.rmtree(run.log_probs, ignore_errors=True)
    run.log_probs.write_text("")  # a cache that cannot be written, for root too
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    config = TuneConfig(run=str(run.path), lm=str(write_lm(tmp_path)), trials=1, data=run.read_config().data)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=r"cannot be written to; out=DIR writes"):
        patch.setattr(os, "access", lambda path, mode: False)
        tune_run(config)
    config.out = str(tmp_path / "out")
    tune_run(config)
    out = RunFolder(tmp_path / "out")
    assert {path.name for path in out.path.iterdir()} == {out.decoder.name, out.tuning.name, out.tuning_picture.name}
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    printed = capsys.readouterr()
    assert f"Evaluate with it: decoder=beam_lm decoder.lm={tmp_path}/lm.arpa" in printed.out
    assert "The log-probabilities are not cached: " in printed.err


@pytest.mark.parametrize(
    ("interval", "message"), [((-0.03, -0.01), "expect less on another part"), ((-0.03, 0.01), "may be chance")]
)
def test_gain(interval: tuple[float, float], message: str) -> None:
    """The gain on val is reported with its interval, and with what it means for other parts."""
    gain = Difference(-0.01, *interval, 0.2)
    first, last = describe_gain(gain, None, 0, written=True, always=False)
    assert message in first
    assert f"-1.00 points (-3.00 to {100 * interval[1]:+.2f})" in first
    assert last == "the tuned weights are written"
    _, held_out, last = describe_gain(gain, Difference(-0.002, -0.01, 0.01, 0.6), 12, written=False, always=False)
    assert held_out == ("on 12 utterances of val that the weights were not chosen on: -0.20 points (-1.00 to +1.00)")
    assert last == "the untuned weights are written, because the gain may be chance; always=true writes the tuned ones"


def test_weights_are_not_coupled() -> None:
    """The score of an unknown word is the trial's, whatever alpha is."""
    for alpha in (0.1, 2.0):
        weights = {"alpha": alpha, "beta": 1.0, "unknown": -7.0, "token_min_logp": -5.0, "beam_prune_logp": -10.0}
        decoder = decoder_of(DecoderConfig(), weights)
        assert decoder.alpha * np.log(10) * decoder.unk_score_offset == pytest.approx(-7.0, abs=0.01)


def test_ranges() -> None:
    """A range grows at the end that the best trial is near, up to its limit, and an end that the best is at is named."""
    alpha = RANGES["alpha"]
    assert alpha.grown(0.7) == alpha
    assert alpha.grown(1.45).high > 2
    assert alpha.grown(0.06).low == 0.01
    assert alpha.grown(0.06).grown(0.02).low == 0.01
    ranges = {"alpha": Range(0.0, 1.0, least=0.0), "beta": Range(-1.0, 1.0)}
    assert describe_edges({"alpha": 0.001, "beta": 0.0}, ranges) == []
    (alpha_edge, beta_edge) = describe_edges({"alpha": 0.99, "beta": -0.95}, ranges)
    assert alpha_edge == (
        "alpha=0.99 is at the edge of the range searched, 0 to 1: better weights may be outside of it. The range grows "
        "with more trials (trials=)."
    )
    assert beta_edge.startswith("beta=-0.95 is at the edge")


def test_chance_is_not_written(finished: Path, tmp_path: Path) -> None:
    """Without a gain beyond chance the untuned weights are written, and with always=true the tuned ones."""
    config = TuneConfig(
        run=str(finished), lm=str(write_lm(tmp_path)), trials=3, data=RunFolder.at(str(finished)).read_config().data,
        held_out=0.5, out=str(tmp_path / "out"),
    )  # fmt: skip
    out = RunFolder(tmp_path / "out")
    written = []
    for always in (False, True):
        config.always = always
        tune_run(config)
        results = json.loads(out.tuning.read_text(encoding="utf-8"))
        written.append((results["written"], results["difference_on_held_out"] is not None))
        decoder = out.read_decoder()
        assert decoder is not None
        assert (decoder.alpha == DecoderConfig().alpha) == (not always or results["tuned"]["alpha"] == 0.5)
    assert written == [("untuned", True), ("tuned", True)]


def test_picture_stays_on_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tuning.png has colours at the trials only: no surface is drawn where nothing was tried."""
    trials = [
        {"alpha": a, "beta": b, "wer": 0.3 + a / 10, "decoded": share}
        for a, b, share in [(0.5, 1.5, 1.0), (0.1, 5.0, 1.0), (1.4, -1.0, 0.25), (0.9, 2.0, 1.0), (1.2, 4.0, 1.0)]
    ]
    drawn: list[Any] = []
    monkeypatch.setattr(plt, "close", drawn.append)
    best = DecoderConfig(alpha=0.1, beta=5.0)
    draw_trials(Tuned(best, 0.31, 0.35, [], [], trials, []), tmp_path / "tuning.png", "WER")
    monkeypatch.undo()
    axes = drawn[0].axes[0]
    (points,) = axes.collections
    assert points.get_offsets().tolist() == [[t["alpha"], t["beta"]] for t in trials if t["decoded"] == 1]
    assert (tmp_path / "tuning.png").stat().st_size > 1000
    plt.close(drawn[0])
