"""The picture of a search: its trials over alpha and beta."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from khasr.text.counting import counted

if TYPE_CHECKING:
    from khasr.inference.tuning import Tuned


def draw_trials(tuned: "Tuned", path: Path, title: str) -> None:
    """Draws the trials over alpha and beta, coloured by WER, with the untuned and the best decoder marked."""
    alphas = np.array([t["alpha"] for t in tuned.trials])
    betas = np.array([t["beta"] for t in tuned.trials])
    # Everything far above the best has one colour, so that the colours resolve the region around the best.
    rates = 100 * np.minimum([t["wer"] for t in tuned.trials], tuned.wer + 0.1)
    whole = np.array([t["decoded"] == 1 for t in tuned.trials])  # the WER of a pruned trial is of a part of val
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    axes.plot(alphas[~whole], betas[~whole], "x", color="gray", ms=4, label=f"{(~whole).sum()} pruned trials")
    points = axes.scatter(
        alphas[whole],
        betas[whole],
        c=rates[whole],
        cmap="viridis_r",
        s=28,
        label=f"{counted(int(whole.sum()), 'trial')} on all of val",
    )
    figure.colorbar(points, label="WER, %", extend="max" if rates.max() > 100 * (tuned.wer + 0.0999) else "neither")
    marker: dict[str, Any] = {"ls": "", "mfc": "none", "ms": 14, "mew": 1.8}
    axes.plot(alphas[0], betas[0], "s", color="black", label=f"untuned: {100 * tuned.untuned:.1f} %", **marker)
    axes.plot(
        tuned.decoder.alpha, tuned.decoder.beta, "o", color="red", label=f"best: {100 * tuned.wer:.1f} %", **marker
    )
    axes.set(xlabel="alpha (weight of the language model)", ylabel="beta (bonus per word)", title=title)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
