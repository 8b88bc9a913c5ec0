import json
import math
import subprocess
from pathlib import Path

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khasr.scoring.hypotheses import Hypothesis, score
from khasr.scoring.metric import ErrorRates
from tests.commands import Commands

TEXT = st.lists(st.text("កខគ្ា", min_size=1, max_size=4), min_size=1, max_size=6).map(" ".join)
PAIRS = st.lists(st.tuples(TEXT, TEXT | st.just("")), min_size=1, max_size=5)


@given(PAIRS)
def test_rates_of_jiwer(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = map(list, zip(*pairs, strict=True))
    rates = ErrorRates()
    rates.update(references, hypotheses)
    found = rates.compute()
    assert found["wer"] == pytest.approx(jiwer.wer(references, hypotheses))
    assert found["cer"] == pytest.approx(jiwer.cer(references, hypotheses))
    assert found == score([Hypothesis("u", "s", 1.0, *pair) for pair in pairs])


def test_corpus_level() -> None:
    rates = ErrorRates()
    rates.update(["a b c d"], ["a b c d"])
    assert rates.compute()["wer"] == 0.0
    rates.update(["e"], ["f"])
    assert rates.compute()["wer"] == 1 / 5


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_references() -> None:
    assert math.isnan(ErrorRates().compute()["wer"])


RANK = """
import json, sys, torch
from khasr.scoring.metric import ErrorRates
rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
rates = ErrorRates()
rates.update(*[(["a b c"], ["a b x"]), (["d", "e f"], ["d", ""])][rank])
print(json.dumps(rates.compute()))
torch.distributed.destroy_process_group()
"""


def test_two_ranks(command: Commands, tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen([command.python, "-c", RANK, str(rank), f"{tmp_path}/store"], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    found = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    assert found[0] == found[1] == {"wer": 3 / 6, "cer": 4 / 9, "utterances": 3}
