"""The curve of WER against hours: a planted power law is found, and refused where the runs do not support it."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from khasr.study.design import build_design
from khasr.study.hours import HoursCurve, hours_curves, hours_sentences
from khasr.study.overview import summarise
from khasr.study.runs import COLUMNS, HYPOTHESES, Runs
from khasr.study.verdict import judge

NOISE = 0.02


def planted(
    hours: dict[float | None, float], seeds: int = 3, seed: int = 0, noise: float = NOISE, utterances: int = 40
) -> Runs:
    """Runs with these WERs by hours, times noise of the seed; None is all of the 8 hours."""
    rng = np.random.default_rng(seed)
    rows, lines = [], []
    for asked, wer in hours.items():
        for s in range(seeds):
            name, score = f"{asked}_{s}", wer * math.exp(noise * rng.standard_normal())
            rows.append({"run": name, "status": "completed", "model": "small", "parameters": 1e6, "wer": score,
                "train_hours": asked or 8.0, "data.train_hours": asked, "data.subset_seed": s, "seed": s})  # fmt: skip
            for u in range(utterances):
                lines.append({"run": name, "part": "val", "id": f"u{u}", "reference": "", "hypothesis": "", "speaker": "",
                    "edits": rng.binomial(10, min(1, score)), "words": 10, "seconds": 1.0})  # fmt: skip
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*COLUMNS, *(c for c in table.columns if c not in COLUMNS)])
    curves = pd.DataFrame([], columns=["run", "step", "metric", "value"])
    return Runs(table, curves, pd.DataFrame(lines, columns=HYPOTHESES))


def curve(hours: dict[float | None, float], more: float | None = None, **plan: Any) -> HoursCurve:
    (found,) = hours_curves(build_design(planted(hours, **plan)), more)
    return found


def law(*hours: float | None, b: float = 0.5) -> dict[float | None, float]:
    return {h: 0.6 * (h or 8.0) ** -b for h in hours}


def test_power_law() -> None:
    """The exponent and the prediction are near the planted ones; all of the data counts with its measured hours."""
    found = curve(law(1, 2, 4, None), more=8)
    assert [size.hours for size in found.sizes] == [1, 2, 4, 8]
    assert not found.refused
    assert found.exponent.low < 0.5 < found.exponent.high
    (prediction,) = found.predictions
    assert not prediction.refused
    assert prediction.wer.low < 0.6 / 4 < prediction.wer.high
    assert found.band[0, 0] == pytest.approx(1)
    assert found.band[-1, 0] == pytest.approx(16)
    assert "8 more hours (16 h in all) would give small about" in hours_sentences(found)[0]


def test_coverage() -> None:
    """The 95 % interval has the planted WER in most of 30 studies, and is not needlessly wide."""
    inside, widths = 0, []
    for seed in range(30):
        for prediction in curve(law(1, 2, 4), more=4, seed=seed, utterances=0).predictions:
            inside += prediction.wer.low <= 0.6 * 8**-0.5 <= prediction.wer.high
            widths.append(prediction.wer.high - prediction.wer.low)
    assert inside >= 25
    assert np.median(widths) < 0.05


@pytest.mark.parametrize(
    ("hours", "plan", "reason"),
    [
        (law(1, 2), {}, "a power law needs 3 sizes at which runs learned; there are 2"),
        (law(1, 2, 4) | {0.5: 1.0}, {"seeds": 1}, "the noise between seeds is not known (-m seed=1,2,3)"),
        ({1: 0.5, 2: 0.4, 4: 0.45}, {}, "the WER does not fall with the hours: 40.0 % at 2 h, 45.0 % at 4 h"),
        ({1: 0.6, 2: 0.3, 4: 0.29, None: 0.28}, {}, "the sizes do not lie on a power law"),
    ],
)
def test_refused(hours: dict[float | None, float], plan: dict[str, Any], reason: str) -> None:
    found = curve(hours, **({"noise": 1e-3} | plan))
    assert reason in found.refused
    assert found.predictions == []
    assert hours_sentences(found) == [f"small, more hours: nothing is predicted, because {found.refused}."]


def test_predictions_refused() -> None:
    """Too far, too wide, and no effect shown; by default a prediction that is too far is replaced by a nearer one."""
    first, second = curve(law(1, 2, 4)).predictions
    assert first.refused == (
        "that is 3.5 times the audio of the largest size, 4 h, and predictions are made up to 3 times"
    )
    assert (second.more, second.refused) == (4, "")
    (only,) = curve(law(1, 2, 4, None)).predictions
    assert (only.more, only.refused) == (10, "")
    assert "the interval is too wide" in curve(law(1, 2, 4, b=0.7), more=8, noise=0.12).predictions[0].refused
    flat = {1: 0.5, 2: 0.498, 4: 0.496}
    assert "it is not shown that the WER falls" in curve(flat, more=2, seed=3, noise=1e-4).predictions[0].refused


def test_unlearned_and_other_settings() -> None:
    """Sizes at which no run learned are left out; a setting that changes with the hours is named."""
    found = curve(law(1, 2, 4) | {0.1: 1.0})
    assert [size.hours for size in found.sizes] == [1, 2, 4]
    assert found.notes == ["Left out, because no run learned: 0.1 h."]
    runs = planted(law(1, 2, 4))
    runs.table["trainer.max_steps"] = 100 * runs.table["train_hours"]
    (found,) = hours_curves(build_design(runs))
    assert "trainer.max_steps changes with the hours in every run, so the curve is of both together." in found.notes
    runs.table["trainer.max_steps"] = 100
    runs.table["optimizer.lr"] = np.where(runs.table["seed"] == 2, 1e-3, 1e-4)
    (found,) = hours_curves(build_design(runs))
    assert found.others in ("optimizer.lr = 0.001", "optimizer.lr = 0.0001")
    assert [len(size.runs) for size in found.sizes] in ([2, 2, 2], [1, 1, 1])


def test_overview() -> None:
    design = build_design(planted(law(1, 2, 4, None)))
    notes = summarise(design, judge(design)).notes
    assert any(note.startswith("10 more hours (18 h in all) would give small about") for note in notes)
    assert hours_curves(build_design(planted({4: 0.3}))) == []
