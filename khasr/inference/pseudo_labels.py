"""Transcripts of recordings without text as a corpus to train on: pseudo-labels."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from khasr.config import DataConfig
from khasr.decoding.decoded import Decoded
from khasr.run.folder import write_whole
from khasr.text.counting import counted

TABLE = "utterances.tsv"


def wrong_length(seconds: float) -> str:
    """The reason why a corpus refuses an utterance of this length, with the default options; else empty."""
    shortest, longest = DataConfig.min_seconds, DataConfig.max_seconds
    return "" if shortest <= seconds <= longest else f"a length outside {shortest:g} to {longest:g} s"


class PseudoLabels:
    """Collects the pieces of recordings whose transcripts are confident, as rows of a table that data=folder reads.

    Attributes:
        least: the confidence that a piece needs: the expected share of its words that are right.
    """

    def __init__(self, folder: Path, least: float) -> None:
        """The pseudo-labels of a folder.

        Raises:
            ValueError: `least` is no confidence, or the folder has a table already.
        """
        if not 0 <= least <= 1:
            raise ValueError(f"--min-confidence {least:g}: expected a number from 0 to 1.")
        if (folder / TABLE).exists():
            raise ValueError(f"--to-corpus {folder} has a {TABLE} already; choose a new folder.")
        self.least = least
        self._folder = folder
        self._rows: list[str] = []
        self._kept = self._all = 0.0
        self._pieces = 0
        self._confidences: list[float] = []
        self._fitted = True
        self._left_out: Counter[str] = Counter()

    def add(self, audio: str, seconds: float, pieces: Sequence[tuple[float, list[Decoded]]], problem: str = "") -> None:
        """Adds the pieces of a recording.

        Args:
            seconds: length of the recording.
            pieces: the start of each in seconds, and its hypotheses.
            problem: why the recording is not complete; a corpus would refuse it, and it is left out.
        """
        path = os.path.relpath(audio, self._folder)
        starts = [*(start for start, _ in pieces), seconds]
        if not pieces:  # shorter than two frames
            self._pieces += 1
            self._all += seconds
            self._left_out["no words"] += 1
        for (start, decoded), end in zip(pieces, starts[1:], strict=True):
            self._pieces += 1
            self._all += end - start
            words = decoded[0].words
            reason = problem and "a recording that is cut short"
            if re.search(r"[\t\r\n]", path):
                reason = "a name with tabs or line ends"
            elif not words:
                reason = "no words"
            else:
                reason = wrong_length(end - start) or reason
            if not reason:
                confidence = self._confidence(decoded[0])
                self._confidences.append(confidence)
                if confidence < self.least:
                    reason = f"a confidence below {self.least:g}"
            if reason:
                self._left_out[reason] += 1
                continue
            self._kept += end - start
            offset, duration = (f"{value:.4f}" for value in (start, end - start))
            if len(pieces) == 1:  # the whole file
                offset = duration = ""
            self._rows.append("\t".join([path, decoded[0].text, offset, duration, f"{confidence:.4f}"]))

    def _confidence(self, decoded: Decoded) -> float:
        """The fitted confidence of a piece; without one, the mean of the posteriors of its words."""
        if decoded.confidence is not None:
            return decoded.confidence
        self._fitted = False
        return float(np.mean([word.posterior for word in decoded.words]))

    def write(self) -> list[str]:
        """Writes the table; returns what was kept and left out, and how to train on it, as lines.

        Raises:
            ValueError: no piece is confident enough.
        """
        low, middle, high = np.quantile(self._confidences or [0.0], [0.1, 0.5, 0.9])
        spread = f"Confidences: {low:.2f} or less for 10 % of the pieces, {middle:.2f} for half, {high:.2f} for 90 %."
        if not self._rows:
            raise ValueError(
                f"--to-corpus {self._folder}: no piece of {self._pieces:,} is confident enough for --min-confidence "
                f"{self.least:g}. {spread}"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        header = "\t".join(["audio", "text", "offset", "duration", "confidence"])
        write_whole(self._folder / TABLE, "\n".join([header, *self._rows, ""]))
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in self._left_out.most_common())
        left_out = f"; left out: {reasons}" if reasons else ""
        if not self._fitted:
            spread += " They are posteriors, which are too high: `python -m khasr.evaluate run=RUN part=val` with the "
            spread += "same decoder fits confidences."
        return [
            f"{self._folder / TABLE}: {len(self._rows):,} of {counted(self._pieces, 'piece')}, "
            f"{self._kept / 3600:.3g} of {self._all / 3600:.3g} h, confidence at least {self.least:g}{left_out}",
            spread,
            'Train on them beside a corpus with text: data=mix "data.corpora=[{data:folder,root:LABELLED,'
            f'split:RUN/split.tsv}},{{data:folder,root:{self._folder},split:train,weight:0.5}}]"',
        ]
