import jiwer
import numpy as np

from khasr.scoring.error_rates import RATES, character_edits, confusions, count_edits, word_edits


def test_units() -> None:
    assert word_edits("a b c", "a x") == (1, 1, 0, 3)
    assert character_edits("a b", "ab") == (0, 1, 0, 3)


def test_edits_of_jiwer() -> None:
    rng = np.random.default_rng(0)
    letters = list("abcd")
    references, hypotheses = (
        [" ".join(rng.choice(letters, rng.integers(1, 9))) for _ in range(10_000)] for _ in range(2)
    )
    found = [count_edits(r.split(), h.split()) for r, h in zip(references, hypotheses, strict=True)]
    theirs = jiwer.process_words(references, hypotheses)
    assert sum(f.substitutions for f in found) == theirs.substitutions
    assert sum(f.deletions for f in found) == theirs.deletions
    assert sum(f.insertions for f in found) == theirs.insertions
    assert sum(f.total for f in found) / sum(f.units for f in found) == theirs.wer


def test_segmentation() -> None:
    reference, hypothesis = "ខ្ញុំ ចង់ ទៅ សាលា រៀន", "ខ្ញុំ ចង់ទៅ សាលារៀន"
    totals = {name: count_edits(unit(reference), unit(hypothesis)).total for name, unit in RATES.items()}
    assert totals["wer"] > 0
    assert totals["cer"] == 2
    assert totals["cer_no_spaces"] == totals["wer_resegmented"] == 0


def test_confusions() -> None:
    counted, alike = confusions([("ស្ដី ក", "ស្តី ខ"), ("ក", ""), ("", "គ")])
    assert counted == {("ស្ដី", "ស្តី"): 1, ("ក", "ខ"): 1, ("ក", ""): 1, ("", "គ"): 1}
    assert alike == 1
