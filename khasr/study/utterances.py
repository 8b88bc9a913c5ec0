"""Hypotheses of both models compared by utterance: alignments, audio, and the error from sampling utterances."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from khasr.data.audio import SAMPLE_RATE
from khasr.scoring.alignments import align, error_segments
from khasr.scoring.significance import Difference, MatchedPairs, matched_pairs, paired_difference
from khasr.study.design import Design


@dataclass(frozen=True)
class Cell:
    """A position of an alignment: equal, replace, delete or insert; a side without a word is empty."""

    kind: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class Side:
    """A model's hypothesis of an utterance."""

    model: str
    edits: int
    cells: list[Cell]


@dataclass
class Shown:
    """An utterance as the page shows it.

    Attributes:
        audio: as a data: URI; empty if it is not available.
    """

    id: str
    seconds: float
    words: int
    sides: list[Side]
    audio: str = ""


@dataclass
class Errors:
    """The best run of each model on the same utterances.

    Attributes:
        runs: their names.
        part: val or test.
        why_no_audio: the reason, if there is none.
        difference: of WER, the large model's run minus the small one's; `segments` is the matched-pairs test of it.
    """

    runs: tuple[str, str]
    part: str
    table: pd.DataFrame
    worst: list[Shown]
    changed: list[Shown]
    difference: Difference
    segments: MatchedPairs
    why_no_audio: str = ""


def align_words(reference: str, hypothesis: str) -> list[Cell]:
    """The alignment of the words of both."""
    cells = []
    for pair in align(reference.split(), hypothesis.split()):
        for i in range(max(len(pair.reference), len(pair.hypothesis))):
            sides = [words[i] if i < len(words) else "" for words in (pair.reference, pair.hypothesis)]
            cells.append(Cell(pair.kind, *sides))
    return cells


def compare_errors(design: Design, count: int = 10, audio: bool = True) -> Errors | None:
    """The worst and the most changed utterances of each model's best run; None if a model has no hypotheses."""
    table = design.runs.hypotheses
    runs = []
    for model in design.models:
        rows = design.of(model).dropna(subset=["score"]).sort_values(["score", "wer"])
        with_text = [run for run in rows["run"] if (table["run"] == run).any()]
        if not with_text:
            return None
        runs.append(with_text[0])
    parts = [set(table[table["run"] == run]["part"]) for run in runs]
    part = next((p for p in ("test", "val") if p in parts[0] & parts[1]), None)
    both = None if part is None else _side_by_side(table[table["part"] == part], *runs)
    if part is None or both is None or len(both) < 2:
        return None
    both["worst"] = (both["edits_small"] + both["edits_large"]) / (2 * both["words"]).clip(lower=1)
    both["change"] = both["edits_large"] - both["edits_small"]
    worst = both.sort_values(["worst", "id"], ascending=[False, True]).head(count)
    changed = both[both["change"] != 0].copy()
    changed = changed.reindex(changed["change"].abs().sort_values(ascending=False, kind="stable").index).head(count)
    sounds: dict[str, str] = {}
    why_no_audio = "left out by --no-audio"
    if audio:
        sounds, why_no_audio = recordings(design.runs.configs.get(runs[0], {}), [*worst["id"], *changed["id"]])
    shown = [[_show(row, design.models, sounds) for row in rows.to_dict("records")] for rows in (worst, changed)]
    small, large, words = (both[c].to_numpy(float) for c in ("edits_small", "edits_large", "words"))
    texts = zip(both["reference"], both["hypothesis_large"], both["hypothesis_small"], strict=True)
    segments = [segment for text in texts for segment in error_segments(*text)]
    return Errors(
        (runs[0], runs[1]), part, both, shown[0], shown[1],
        paired_difference(large, small, words), matched_pairs(*zip(*segments or [(0, 0)], strict=True)),
        why_no_audio if not sounds else "",
    )  # fmt: skip


def utterance_error(design: Design, cell: str) -> float:
    """Squared error of the gap at a setting from the sampling of utterances; 0 if a model has no hypotheses.

    The edits of each model's runs are averaged, utterance by utterance, and the pairs resampled.
    """
    table = design.runs.hypotheses
    table = table[table["part"] == "val"]
    means = []
    for model in design.models:
        rows = design.of(model)
        runs = rows[(rows["cell"] == cell) & rows["learned"]]["run"]
        means.append(table[table["run"].isin(runs)].groupby("id")[["edits", "words"]].mean())
    both = means[0].join(means[1], rsuffix="_large", how="inner")
    if len(both) < 2 or not both["words"].sum():
        return 0.0
    found = paired_difference(both["edits_large"], both["edits"], both["words"])
    return float(((found.high - found.low) / (2 * 1.96)) ** 2)


def _side_by_side(table: pd.DataFrame, small: str, large: str) -> pd.DataFrame:
    sides = [table[table["run"] == run].drop_duplicates("id").set_index("id") for run in (small, large)]
    both = sides[0].join(sides[1], lsuffix="_small", rsuffix="_large", how="inner").reset_index()
    both = both[both["reference_small"] == both["reference_large"]]
    return both.rename(columns={"reference_small": "reference", "words_small": "words", "seconds_small": "seconds"})


def _show(row: dict[str, Any], models: tuple[str, ...], sounds: dict[str, str]) -> Shown:
    sides = [
        Side(model, int(row[f"edits_{side}"]), align_words(row["reference"], row[f"hypothesis_{side}"]))
        for model, side in zip(models, ("small", "large"), strict=True)
    ]
    return Shown(row["id"], float(row["seconds"]), int(row["words"]), sides, sounds.get(row["id"], ""))


def recordings(config: dict[str, Any], ids: Sequence[str]) -> tuple[dict[str, str], str]:
    """The audio of utterances as data: URIs (MP3, which every browser plays), and the reason if there is none."""
    import soundfile
    from omegaconf import OmegaConf

    from khasr.config import DataConfig, from_plain
    from khasr.data.audio_cache import load_audio
    from khasr.data.corpora import read_corpus
    from khasr.data.corpora.files import cache_folder

    wanted = set(ids)
    try:
        # Only the section of the corpus: other sections may be of an older or newer version.
        options = cast(DataConfig, OmegaConf.to_object(from_plain({"data": config["data"]}).data))
        audio, _ = load_audio(read_corpus(options), cache_folder(options), progress=False)
        found = {}
        places = [i for i, id_ in enumerate(audio["id"]) if id_ in wanted]
        for row in audio.select(places).with_format("numpy"):
            file = io.BytesIO()
            soundfile.write(file, np.asarray(row["waveform"], np.int16), SAMPLE_RATE, format="MP3")
            found[str(row["id"])] = "data:audio/mpeg;base64," + base64.b64encode(file.getvalue()).decode()
    except Exception as error:  # the page is written without audio, with the reason
        return {}, f"the corpus could not be read here: {' '.join(str(error).split())[:300]}"
    return found, "" if found else "the corpus as it is here has none of these utterances"
