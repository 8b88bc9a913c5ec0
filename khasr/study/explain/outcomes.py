"""The outcomes of a plan's runs: WER on val and edits by utterance, matched to cells by their options."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from khasr.run.folder import RunFolder, read_metrics
from khasr.scoring.error_rates import word_edits
from khasr.scoring.hypotheses import read_hypotheses
from khasr.study.design import LEARNED_BELOW
from khasr.study.explain.attribution import Array, Replicates
from khasr.study.explain.factors import Options, flatten
from khasr.study.explain.plan import Plan


@dataclass(frozen=True)
class Outcome:
    """One run.

    Attributes:
        status: as in results.json.
        wer: on val by the best checkpoint, a fraction; nan for a run that is missing (failed, killed, not begun).
        edits: word edits of each utterance of val, by id; empty where there are no hypotheses.
        seconds: of training.
        last: WER of the last validation, by greedy decoding; nan if it is not known.
    """

    folder: Path
    status: str
    wer: float
    error: str = ""
    edits: dict[str, int] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    speakers: dict[str, str] = field(default_factory=dict)
    seconds: float = math.nan
    last: float = math.nan

    @property
    def missing(self) -> bool:
        """Whether the run has no WER because the machine lost it, or because it has not begun."""
        return math.isnan(self.wer)

    @property
    def learned(self) -> bool:
        """Whether the run learned."""
        return self.wer < LEARNED_BELOW

    @property
    def score(self) -> float:
        """The WER; 1 for a run that did not learn."""
        return self.wer if self.missing or self.learned else 1.0


Outcomes = dict[tuple[int, int], Outcome]
"""By cell and seed."""


def read_outcomes(plan: Plan, runs: Path) -> Outcomes:
    """The runs in a folder that are of a cell and a seed of the plan."""
    cells = {cell: plan.comparison.cell(cell) for cell in range(plan.whole)}
    keys = [key for factor in plan.factors for key in {**factor.a, **factor.b}]
    found: Outcomes = {}
    for path in sorted(runs.glob("*/config.yaml")):
        folder = RunFolder(path.parent)
        options = flatten(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        cell = next((c for c, wanted in cells.items() if _same(options, wanted, keys)), None)
        seed = options.get("seed")
        if cell is None or seed not in plan.seeds:
            continue
        outcome = _read(folder)
        before = found.get((cell, seed))
        if before is None or before.missing:
            found[cell, seed] = outcome
    return found


def _same(options: Options, wanted: Options, keys: Sequence[str]) -> bool:
    return all(options.get(key, ...) == wanted.get(key, ...) for key in keys)


def _read(folder: RunFolder) -> Outcome:
    """The outcome of a run: its WER if training ended by itself, nan if the machine lost it."""
    if not folder.results.is_file():
        return Outcome(folder.path, "interrupted", math.nan, "no results.json")
    try:
        results: dict[str, Any] = json.loads(folder.results.read_text(encoding="utf-8"))
    except ValueError:
        return Outcome(folder.path, "failed", math.nan, "results.json is damaged")
    status, error = str(results.get("status")), str(results.get("error") or "")
    seconds = float((results.get("train") or {}).get("seconds") or math.nan)
    rows = read_metrics(folder.metrics) if folder.metrics.is_file() else []
    rates = [float(row["val/wer"]) for row in rows if "val/wer" in row]
    if status == "completed":
        parts, _ = read_hypotheses(folder.hypotheses) if folder.hypotheses.is_file() else ({}, 0)
        edits = {h.id: word_edits(h.reference, h.hypothesis) for h in parts.get("val", [])}
        return Outcome(
            folder.path,
            status,
            float(results["val"]["wer"]),
            error,
            {id_: e.total for id_, e in edits.items()},
            {id_: e.units for id_, e in edits.items()},
            {h.id: h.speaker for h in parts.get("val", [])},
            seconds,
            rates[-1] if rates else math.nan,
        )
    # A model whose weights are not finite can also fail in decoding, before the loss ends the run (decoding.compiled).
    if status in ("diverged", "pruned") or (status == "failed" and "diverged" in error):
        # Judged by its best validation: diverging after a good one is not the same as never learning.
        return Outcome(folder.path, status, min([r for r in rates if r == r], default=1.0), error, seconds=seconds)
    return Outcome(folder.path, status, math.nan, error, seconds=seconds)


def complete_seeds(plan: Plan, outcomes: Outcomes, cells: Sequence[int] | None = None) -> list[int]:
    """The seeds that have all these cells (their own cells where orders are sampled)."""
    complete = []
    for number, seed in enumerate(plan.seeds):
        needed = cells if cells is not None else [c for stage in (0, 1, 2) for c in plan.cells(stage, number)]
        if all((c, seed) in outcomes and not outcomes[c, seed].missing for c in needed):
            complete.append(seed)
    return complete


def replicates(plan: Plan, outcomes: Outcomes, seeds: Sequence[int]) -> Replicates:
    """Scores and edits of these seeds; nan for cells that a seed does not have."""
    scores = np.full((len(seeds), plan.whole), np.nan)
    for row, seed in enumerate(seeds):
        for cell in range(plan.whole):
            if (cell, seed) in outcomes:
                scores[row, cell] = outcomes[cell, seed].score
    scored = next((o for o in outcomes.values() if o.words), None)
    if scored is None:
        return Replicates(scores)
    ids = sorted(scored.words)
    words = np.array([scored.words[id_] for id_ in ids], dtype=float)
    edits = np.full((*scores.shape, len(ids)), np.nan)
    for row, seed in enumerate(seeds):
        for cell in range(plan.whole):
            outcome = outcomes.get((cell, seed))
            if outcome is not None and not outcome.missing:
                edits[row, cell] = _edits(outcome, ids, words)
    speakers = [scored.speakers.get(id_, "") for id_ in ids]
    return Replicates(scores, edits, words, speakers if all(speakers) else None)


def _edits(outcome: Outcome, ids: Sequence[str], words: Array) -> Array:
    """Edits by utterance that sum to the run's score.

    Raises:
        ValueError: the run was scored on other utterances.
    """
    if not outcome.learned or not outcome.edits:
        return words * outcome.score
    if sorted(outcome.words) != list(ids):
        raise ValueError(
            f"{outcome.folder} was scored on {len(outcome.words)} utterances of val, other runs on {len(ids)} that are "
            "not the same: the corpus or its split has changed between the runs. Start again with a new --out."
        )
    return np.array([outcome.edits[id_] for id_ in ids], dtype=float)
