"""The utterances of one model's best run with the most errors."""

from dataclasses import dataclass

import pandas as pd

from khasr.study.design import Design
from khasr.study.utterances import Shown, Side, align_words, recordings


@dataclass
class WorstUtterances:
    """The worst utterances of a run.

    Attributes:
        part: val or test.
        count: utterances of the part.
        why_no_audio: empty if there is audio.
    """

    run: str
    part: str
    count: int
    shown: list[Shown]
    why_no_audio: str = ""


def worst_utterances(design: Design, count: int = 10, audio: bool = True) -> WorstUtterances | None:
    """The utterances with the highest WER of the only model's best run; None if no run has hypotheses."""
    (model,) = design.models
    table = design.runs.hypotheses
    ranked = design.of(model).dropna(subset=["score"]).sort_values(["score", "wer"])
    run = next((name for name in ranked["run"] if (table["run"] == name).any()), None)
    if run is None:
        return None
    lines = table[table["run"] == run]
    part = next((p for p in ("test", "val") if (lines["part"] == p).any()), None)
    if part is None:
        return None
    lines = lines[lines["part"] == part].drop_duplicates("id")
    order = pd.DataFrame({"rate": lines["edits"] / lines["words"].clip(lower=1), "id": lines["id"]})
    order = order[lines["edits"] > 0].sort_values(["rate", "id"], ascending=[False, True]).head(count)
    worst = lines.loc[order.index].to_dict("records")
    sounds: dict[str, str] = {}
    why_no_audio = "left out by --no-audio"
    if audio:
        sounds, why_no_audio = recordings(design.runs.configs.get(run, {}), [row["id"] for row in worst])
    shown = [
        Shown(
            row["id"], float(row["seconds"]), int(row["words"]),
            [Side(model, int(row["edits"]), align_words(row["reference"], row["hypothesis"]))],
            sounds.get(row["id"], ""),
        )
        for row in worst
    ]  # fmt: skip
    return WorstUtterances(run, part, len(lines), shown, "" if sounds else why_no_audio)
