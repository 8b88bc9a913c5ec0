import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from khasr.config import DecoderConfig
from khasr.decoding.beam import BeamSearch
from khasr.decoding.decoded import posteriors, word_confidences
from khasr.decoding.greedy import decode_greedy_words
from khasr.inference.long_audio import long_log_probs, pieces_at_pauses
from khasr.inference.recogniser import load_recogniser
from khasr.inference.transcription import hear, subtitles
from khasr.inference.tuning import describe_gain, tune
from khasr.scoring.breakdown import by_frequency, by_oov, by_speaker
from khasr.scoring.hypotheses import Hypothesis
from khasr.scoring.report import compare, describe
from khasr.scoring.significance import Difference
from khasr.text.vocabulary import Vocabulary
from tests.decoding.test_greedy import VOCABULARY, frames, write_lm


def scored(hypotheses: list[str], speakers: int = 8) -> list[Hypothesis]:
    return [Hypothesis(f"u{i}", f"s{i % speakers}", 2.0, "a b c", h) for i, h in enumerate(hypotheses)]


def test_an_evaluation_tells_rates_intervals_and_where_the_errors_are() -> None:
    found = describe(scored(["a b c", "a x c"] * 8), Counter("aab"), 500)
    wer = found["rates"]["wer"]
    assert (wer["rate"], wer["count"], wer["substitutions"]["count"]) == (8 / 48, 8, 8)
    assert wer["utterances"][0] < 8 / 48 < wer["utterances"][1]
    assert isinstance(wer["speakers"], list)
    assert found["confusions"] == [{"reference": "b", "hypothesis": "x", "count": 8}]
    few = describe(scored(["a b c"] * 8, speakers=7), None, 100)
    assert "7 groups are too few" in few["rates"]["wer"]["speakers"]


def test_a_difference_is_of_the_same_utterances_and_lists_those_that_changed() -> None:
    one, other = scored(["a b c"] * 16), scored(["a b c", "a x c"] * 8)
    found = compare(one, other, 500)
    assert found["wer"]["utterances"]["value"] == pytest.approx(-8 / 48)
    assert found["wer"]["utterances"]["p"] < 0.01
    assert found["matched_pairs"]["segments"] == 8
    assert [c["id"] for c in found["changed"]] == [f"u{i}" for i in range(1, 16, 2)]
    with pytest.raises(ValueError, match="not scored on the same utterances"):
        compare(one, other[:-1], 100)


def test_breakdowns_hold_every_utterance_and_every_word() -> None:
    some = scored(["a b c", "a x c", "a"] * 4)
    for rows in (by_speaker(some), by_oov(some, Counter("ab"))):
        assert sum(r.utterances for r in rows) == 12
        assert sum(r.edits for r in rows) == 4 * 3
    assert sum(r.words for r in by_frequency(some, Counter("ab"))) == 36


@pytest.mark.parametrize("backend", ["compiled", "pyctcdecode"])
def test_beams_have_word_times_and_confidences(backend: str) -> None:
    options = DecoderConfig(name="beam", backend=backend)  # type: ignore[arg-type]
    beams = BeamSearch(options, VOCABULARY).beams(frames("-aab--  cc-", sure=0.9)[0].numpy(), 5)
    assert beams[0].text == "ab c"
    # The search counts a repeated symbol's frames to within one.
    for word, (text, start, end) in zip(beams[0].words, [("ab", 0.02, 0.08), ("c", 0.16, 0.2)], strict=True):
        assert word.text == text
        assert (word.start, word.end) == (pytest.approx(start, abs=0.021), pytest.approx(end, abs=0.021))
    assert all(0 < w.confidence <= 1 for w in beams[0].words)
    assert [b.score for b in beams] == sorted((b.score for b in beams), reverse=True)


def test_a_word_is_as_sure_as_the_hypotheses_that_have_it() -> None:
    shares = posteriors([0.0, 0.0])
    assert shares == [0.5, 0.5]
    assert word_confidences([["a", "b"], ["a", "c"]], shares) == [[1.0, 0.5], [1.0, 0.5]]


@given(
    st.lists(st.tuples(st.lists(st.sampled_from("ab"), max_size=4), st.floats(-60, 0)), min_size=1, max_size=40),
)
def test_confidences_are_probabilities(hypotheses: list[tuple[list[str], float]]) -> None:
    shares = posteriors([score for _, score in hypotheses])
    assert all(0 <= share <= 1 for share in shares)
    confidences = word_confidences([words for words, _ in hypotheses], shares)
    assert all(0 <= c <= 1 for of_one in confidences for c in of_one)


def test_confidences_with_log_probs_rounded_above_zero() -> None:
    log_probs = torch.full((4, len(VOCABULARY)), -20.0)
    log_probs[:, 2] = 1e-7
    decoded = decode_greedy_words(log_probs, VOCABULARY)
    assert decoded.confidence == 1
    assert [w.confidence for w in decoded.words] == [1]


def test_tuning_is_never_worse_than_what_it_starts_from(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    log_probs = [frames("a-b", 0.6)[0].numpy() + rng.normal(0, 0.5, (3, len(VOCABULARY))) for _ in range(12)]
    log_probs = [(x - np.log(np.exp(x).sum(1, keepdims=True))).astype(np.float32) for x in log_probs]
    options = DecoderConfig(name="beam_lm", lm=str(write_lm(tmp_path)))
    found = tune(options, VOCABULARY, log_probs, ["ab"] * 12, trials=12, seed=0, tell=lambda _: None)
    assert found.wer <= found.untuned
    assert (sum(found.edits) / 12, sum(found.edits_untuned) / 12) == (found.wer, found.untuned)
    assert len(found.trials) == 12
    assert (found.trials[0]["alpha"], found.trials[0]["beta"]) == (0.5, 1.5)


@pytest.mark.parametrize(
    ("interval", "told"), [((-0.03, -0.01), "on another part expect less"), ((-0.03, 0.01), "may be chance alone")]
)
def test_what_tuning_gave_is_told_with_its_interval(interval: tuple[float, float], told: str) -> None:
    sentence = describe_gain(Difference(-0.01, *interval, 0.2))
    assert told in sentence
    assert f"-1.00 points on val (-3.00 to {100 * interval[1]:+.2f})" in sentence


class Counting:
    """A recogniser that says for each frame its first sample, over 320."""

    vocabulary = Vocabulary.of_texts(["a"])

    def __init__(self) -> None:
        self.most = 0

    def log_probs(self, waveforms: object, lengths: object) -> list[np.ndarray]:
        raise NotImplementedError


@pytest.mark.parametrize("samples", [320 * 50, 320 * 1000, 320 * 999 + 77, 320 * 101])
def test_chunks_say_every_frame_once(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def hear(recogniser: object, waveform: np.ndarray) -> np.ndarray:
        held.append(len(waveform))
        return waveform[: len(waveform) // 320 * 320 : 320, None].repeat(3, axis=1)

    monkeypatch.setattr("khasr.inference.long_audio._hear", hear)
    wave = np.arange(samples, dtype=np.float32)
    pieces = list(long_log_probs(Counting(), lambda a, b: wave[a:b], samples, 2.0, 0.5))  # type: ignore[arg-type]
    assert np.concatenate(pieces)[:, 0].tolist() == [320.0 * i for i in range(samples // 320)]
    assert max(held) <= 2 * 16_000


def test_pieces_are_cut_at_pauses_and_lose_no_frame() -> None:
    vocabulary = Vocabulary.of_texts(["a b"])
    letter, space = vocabulary.symbols.index("a"), vocabulary.symbols.index(" ")
    rows = np.full((4000, len(vocabulary)), -5.0, np.float32)
    rows[:, letter] = 0.0
    rows[1200:1240, 0] = 1.0
    pieces = list(pieces_at_pauses(iter([rows]), vocabulary))
    assert [start for start, _ in pieces][:2] == [0, 1220]
    assert sum(len(p) for _, p in pieces) == 4000
    # A shorter one between words comes before a longer one that may be within a word.
    rows[900:904, 0] = 1.0
    rows[904, space] = 1.0
    pieces = list(pieces_at_pauses(iter([rows]), vocabulary))
    assert [start for start, _ in pieces][:2] == [0, 902]


def test_what_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=f"run={absent} is not there"):
        load_recogniser(absent)
    with pytest.raises(Exception, match="it is not there"):
        next(hear(None, absent, 30.0, 5.0))  # type: ignore[arg-type]


def test_subtitles_end_at_pauses() -> None:
    from khasr.decoding.decoded import Word

    told = subtitles([Word("a", 0.0, 0.5, 1), Word("b", 0.6, 1.0, 1), Word("c", 3661.5, 3662.0, 1)])
    assert told == "1\n00:00:00,000 --> 00:00:01,000\na b\n\n2\n01:01:01,500 --> 01:01:02,000\nc"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["khasr.evaluate"], "run= is missing"),
        (["khasr.evaluate", "run=/absent"], "/absent"),
        (["khasr.evaluate", "run=/absent", "data=folder", "partt=test"], "partt"),
        (["khasr.tune", "run=/absent", "lm=/absent"], "/absent has no config.yaml"),
        (["khasr.build_lm", "--out", "lm"], "There is no text"),
        (["khasr.transcribe", "/absent", "/"], ""),
    ],
)
def test_a_mistake_is_told_without_a_traceback(words: list[str], told: str, tmp_path: Path) -> None:
    if words[0] == "khasr.transcribe":
        (tmp_path / "empty").mkdir()
        words, told = ["khasr.transcribe", "/absent", str(tmp_path / "empty")], "has no audio in it"
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
