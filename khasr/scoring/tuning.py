"""A run's decoder, tuned on its val part: decoder.yaml, tuning.json and tuning.png in its folder."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import yaml

from khasr.config import DecoderConfig, TuneConfig
from khasr.decoding.beam import lm_file
from khasr.decoding.tuning import Tuned, tune
from khasr.scoring.recogniser import decoder_file, keep_folder, load_recogniser, read_parts, recognise_part
from khasr.scoring.significance import Difference, paired_difference


def tune_run(config: TuneConfig) -> float:
    """Tunes the decoder of a run and returns its WER on val, as a fraction.

    Raises:
        FileNotFoundError: no such run or language model.
    """
    lm = lm_file(config.lm)  # told before anything takes time
    recogniser = load_recogniser(config.run)
    val = recognise_part(recogniser, read_parts(config.data, seed=0)["val"], config.data, keep_folder(config.run))
    start = time.perf_counter()
    options = DecoderConfig(
        name="beam_lm",
        lm=str(lm.parent.resolve() if lm.name == "lm.binary" else lm.resolve()),
        beam_width=config.beam_width,
    )
    tuned = tune(options, recogniser.vocabulary, val.log_probs, val.references, trials=config.trials, seed=config.seed)
    seconds = time.perf_counter() - start
    folder = Path(config.run).expanduser()
    decoder_file(config.run).write_text(yaml.safe_dump(asdict(tuned.decoder), sort_keys=False), encoding="utf-8")
    words = [len(reference.split()) for reference in val.references]
    gained: dict[str, Any] | str
    try:
        difference = paired_difference(tuned.edits, tuned.edits_untuned, words)
        gained, gain = difference._asdict(), describe_gain(difference)
    except ValueError as refused:  # a single utterance
        gained = gain = str(refused)
    told: dict[str, Any] = {
        "wer": tuned.wer, "wer_untuned": tuned.untuned, "difference": gained, "utterances": len(val.ids),
        "seconds": seconds, "seed": config.seed, "trials": tuned.trials,
    }  # fmt: skip
    (folder / "tuning.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    draw_surface(tuned, folder / "tuning.png", f"{folder.name}: WER on val ({len(val.ids)} utterances)")
    print(
        f"val WER {100 * tuned.untuned:.2f} % untuned, {100 * tuned.wer:.2f} % tuned; {len(tuned.trials)} trials on "
        f"{len(val.ids)} utterances in {seconds:.0f} s\n{gain}\n  {decoder_file(config.run)}\n  "
        f"{folder / 'tuning.json'}\n  {folder / 'tuning.png'}"
    )
    return tuned.wer


def describe_gain(gained: Difference) -> str:
    """A sentence on what tuning gave on val, and whether another part can be expected to see it."""
    told = f"tuning gave {100 * gained.value:+.2f} points on val ({100 * gained.low:+.2f} to {100 * gained.high:+.2f})"
    if gained.high < 0:
        return f"{told}; on another part expect less, for these are the weights that fit val best"
    return f"{told}, which may be chance alone: do not expect it of another part"


def draw_surface(tuned: Tuned, path: Path, title: str) -> None:
    """Draws the trials' WER over alpha and beta, a surface between them, and the winner."""
    alphas = np.array([t["alpha"] for t in tuned.trials])
    betas = np.array([t["beta"] for t in tuned.trials])
    # What is far above the best is one colour, or the colours would tell nothing about where the best lie.
    rates = 100 * np.minimum([t["wer"] for t in tuned.trials], tuned.wer + 0.1)
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    whole = np.array([t["decoded"] == 1 for t in tuned.trials])  # the WER of some utterances is not that of all
    if whole.sum() >= 4 and np.ptp(rates[whole]) > 0:
        figure.colorbar(
            axes.tricontourf(alphas[whole], betas[whole], rates[whole], levels=20, cmap="viridis_r"), label="WER, %"
        )
    axes.plot(alphas[whole], betas[whole], ".", color="black", ms=4, label=f"{whole.sum()} trials")
    axes.plot(alphas[~whole], betas[~whole], "x", color="gray", ms=4, label=f"{(~whole).sum()} cut short")
    axes.plot(alphas[0], betas[0], "s", color="white", mec="black", label=f"untuned: {100 * tuned.untuned:.1f} %")
    axes.plot(
        tuned.decoder.alpha, tuned.decoder.beta, "*", color="red", ms=14, label=f"chosen: {100 * tuned.wer:.1f} %"
    )
    axes.set(xlabel="alpha (weight of the language model)", ylabel="beta (bonus for each word)", title=title)
    axes.legend(loc="upper right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
