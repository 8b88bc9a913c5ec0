import json
import math
import subprocess
import sys
from pathlib import Path

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.scoring.alignments import align, mark_differences
from khasr.scoring.error_rates import character_edits, word_edits
from khasr.scoring.metric import ErrorRates

TEXT = st.lists(st.text("កខគ្ា", min_size=1, max_size=4), min_size=1, max_size=6).map(" ".join)
PAIRS = st.lists(st.tuples(TEXT, TEXT | st.just("")), min_size=1, max_size=5)


@given(PAIRS)
def test_rates_are_jiwer_s(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = map(list, zip(*pairs, strict=True))
    rates = ErrorRates()
    rates.update(references, hypotheses)
    found = rates.compute()
    assert found["wer"] == pytest.approx(jiwer.wer(references, hypotheses))
    assert found["cer"] == pytest.approx(jiwer.cer(references, hypotheses))
    assert found["utterances"] == len(pairs)


def test_identical_text_scores_0_and_nothing_is_averaged_by_utterance() -> None:
    rates = ErrorRates()
    rates.update(["a b c d"], ["a b c d"])
    assert rates.compute()["wer"] == 0.0
    rates.update(["e"], ["f"])
    assert rates.compute()["wer"] == 1 / 5


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_without_a_reference_unit_there_is_no_rate() -> None:
    assert math.isnan(ErrorRates().compute()["wer"])


def test_edits_are_counted_in_their_own_units() -> None:
    assert word_edits("a b c", "a x") == (1, 1, 0, 3)
    assert character_edits("a b", "ab") == (0, 1, 0, 3)


RANK = """
import json, sys, torch
from khasr.scoring.metric import ErrorRates
rank, meet = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
rates = ErrorRates()
rates.update(*[(["a b c"], ["a b x"]), (["d", "e f"], ["d", ""])][rank])
print(json.dumps(rates.compute()))
torch.distributed.destroy_process_group()
"""


def test_two_ranks_give_the_rates_of_all_utterances(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), f"{tmp_path}/meet"], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    found = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    assert found[0] == found[1] == {"wer": 3 / 6, "cer": 4 / 9, "utterances": 3}


@given(TEXT, TEXT | st.just(""))
def test_an_alignment_holds_both_sides_and_the_fewest_edits(reference: str, hypothesis: str) -> None:
    pairs = align(reference.split(), hypothesis.split())
    assert [w for p in pairs for w in p.reference] == reference.split()
    assert [w for p in pairs for w in p.hypothesis] == hypothesis.split()
    edits = sum(max(len(p.reference), len(p.hypothesis)) for p in pairs if p.kind != "equal")
    assert edits == word_edits(reference, hypothesis).total


def test_words_that_differ_are_marked_on_both_sides() -> None:
    assert mark_differences("a b c", "a x c d") == ("a [b] c []", "a [x] c [d]")
