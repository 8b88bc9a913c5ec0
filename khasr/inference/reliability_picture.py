"""The picture of confidences: the share of words that is right, by confidence."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np


def draw_reliability(found: dict[str, Any], path: Path) -> None:
    """Draws the bins of confidences and posteriors as in evaluation.json; reliable ones are on the diagonal."""
    figure, axes = plt.subplots(figsize=(5.6, 5.2), layout="constrained")
    axes.plot([0, 100], [0, 100], color="gray", lw=1, ls="--", label="reliable")
    axes.axhline(100 * found["right"], color="gray", lw=0.8, ls=":", label=f"all words: {100 * found['right']:.0f} %")
    for name, colour, label in (
        ("posterior", "tab:orange", "posterior"),
        ("confidence", "tab:blue", "fitted confidence"),
    ):
        bins = found[name]["reliability"]
        x, y, low, high = (100 * np.array([b[key] for b in bins]) for key in ("confidence", "right", "low", "high"))
        entropy = found[name]["normalised_cross_entropy"][0]
        axes.errorbar(x, y, [y - low, high - y], fmt="o-", ms=4, lw=1, capsize=2, color=colour,
                      label=f"{label}: normalised cross entropy {entropy:.2f}")  # fmt: skip
    axes.set(xlim=(-2, 102), ylim=(-2, 102), xlabel="mean confidence of a tenth of the words, %",
             ylabel="words that are right, % (95 %)", title=f"{found['words']:,} words")  # fmt: skip
    axes.legend(fontsize=8, loc="upper left", frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
