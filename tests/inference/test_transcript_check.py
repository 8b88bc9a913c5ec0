"""`khasr.prepare run=RUN`: transcripts ranked by how little they fit a model."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from khasr.cli.run_options import root_with_run
from khasr.config import PrepareConfig, compose_root
from khasr.inference.transcript_check import check_transcripts, fit
from khasr.run.folder import RunFolder
from khasr.text.vocabulary import Vocabulary


def peaked(text: str, vocabulary: Vocabulary, frames: int = 12) -> np.ndarray:
    """Log-probabilities of a model that is nearly sure of a text, a symbol every second frame."""
    logits = np.zeros((frames, len(vocabulary)), np.float32)
    logits[:, 0] = 6
    for place, label in enumerate(vocabulary.encode(text)):
        logits[2 * place + 1, label] = 12
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def test_fit() -> None:
    """0 where the model agrees; larger the more of the transcript is wrong; inf if CTC cannot align it."""
    vocabulary = Vocabulary.of_texts(["abc d"])
    log_probs = peaked("abc d", vocabulary)
    scores = [fit(text, "abc d", log_probs, vocabulary)[0] for text in ("abc d", "abc a", "cba a")]
    assert scores[0] == 0
    assert scores[0] < scores[1] < scores[2]
    score, loss = fit("abc a", "abc d", log_probs, vocabulary)
    assert loss > score, "the hypothesis has a loss too"
    assert fit("abc" * 20, "abc d", log_probs, vocabulary)[0] == math.inf
    assert fit("abc d", "", log_probs, vocabulary)[0] < 0, "an empty hypothesis may be less probable"


def test_ranked(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of train and val, nothing of test, the least fitting first, with their audio on the page."""
    config = RunFolder(finished).read_config()
    prepare = PrepareConfig(data=config.data, run=str(finished), shown=3, progress_bar=False)
    found = check_transcripts(prepare, tmp_path)
    parts = dict(line.split("\t") for line in RunFolder(finished).split.read_text(encoding="utf-8").splitlines()[1:])
    assert {c.id: c.part for c in found} == {id_: part for id_, part in parts.items() if part != "test"}
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    with (tmp_path / "transcripts.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["id"] for row in rows] == [c.id for c in found]
    assert rows[0]["reference"] == found[0].reference
    page = (tmp_path / "transcripts.html").read_text(encoding="utf-8")
    assert page.count("data:audio/mpeg") == 3
    assert f"1. {found[0].id}, {found[0].part}, score {found[0].score:.2f}" in page
    assert (
        f"{len(found)} utterances of train and val. Their transcripts fit the model least:" in capsys.readouterr().out
    )


def test_options(finished: Path) -> None:
    """With run=, the corpus and its options are the run's, unless they are overridden; without, nothing changes."""
    root = root_with_run("prepare")
    assert root.complete(["data=folder"]) == ["data=folder"]
    words = root.complete([f"run='{finished}'", "shown=7", "data.cache_dir=elsewhere"])
    typed = root.to_typed(compose_root("prepare", words), words)
    own = RunFolder(finished).read_config().data
    assert (typed.data.root, typed.data.val_share, typed.shown) == (own.root, own.val_share, 7)
    assert typed.data.cache_dir == "elsewhere"
