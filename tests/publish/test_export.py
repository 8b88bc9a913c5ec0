"""A run as a Hugging Face folder: transformers' own pipeline hears the same."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from transformers import Wav2Vec2ForCTC, Wav2Vec2ProcessorWithLM, pipeline

from khasr.config import Config
from khasr.data.datamodule import CorpusDataModule
from khasr.decoding.decoder import build_decoder
from khasr.export import main
from khasr.inference.recogniser import recognise
from khasr.model.weights import build_model, load_start
from khasr.publish.card import read_evaluation
from khasr.publish.export import export, push
from khasr.run.folder import RunFolder
from khasr.scoring.hypotheses import Hypothesis
from khasr.training.fit import fit
from tests.conftest import SMALL, write_corpus

# A bigram of the tones' letters as words, by hand: enough for KenLM to read.
ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0\t<unk>\t0
-1.5\t<s>\t-0.3
-1.2\t</s>\t0
-0.8\tកខ\t-0.3
-0.9\tគង\t-0.3

\\2-grams:
-0.4\t<s> កខ
-0.5\tកខ គង

\\end\\
"""


@pytest.fixture(scope="module")
def corpus_of_60(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("export") / "tones", count=60)


@pytest.fixture(scope="module")
def run(compose: Callable[..., Config], corpus_of_60: Path) -> Path:
    folder = corpus_of_60.parent / "run"
    os.environ["KHASR_CACHE"] = str(corpus_of_60.parent / "cache")
    # Long enough to say something: texts that are all empty would be equal whatever the weights.
    changes = ["trainer.max_steps=150", "trainer.val_every_steps=50", "optimizer.lr=5e-3", "data.augment.speed=[]"]
    fit(compose(*SMALL, f"data.root='{corpus_of_60}'", *changes, "score_test=true"), RunFolder(folder))
    return folder


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    out = run.parent / "exported"
    export(RunFolder(run), out, "tones")
    return out


def heard_by_khasr(config: Config, run: Path) -> list[Hypothesis]:
    data = CorpusDataModule(config.data, 0, read_test=True)
    data.prepare(False)
    model, vocabulary, _ = build_model(
        load_start(config.model, RunFolder(run).best), data.vocabulary, config.model, "keep"
    )
    data.use_vocabulary(vocabulary)
    decode = build_decoder(config.decoder, vocabulary)
    return [h for part in data.parts for h in recognise(model, data.evaluation_loader(part), decode)]


def words(text: str) -> str:
    # A head that says a space, a blank and a space gives transformers two, and khasr one.
    return " ".join(text.split())


def test_the_pipeline_gives_the_same_text_on_50_utterances(
    exported: Path, run: Path, corpus_of_60: Path, compose: Callable[..., Config]
) -> None:
    ours = heard_by_khasr(compose(*SMALL, f"data.root='{corpus_of_60}'"), run)[:50]
    recognizer = pipeline("automatic-speech-recognition", model=str(exported))
    theirs = [recognizer({"raw": soundfile.read(corpus_of_60 / f"{h.id}.wav", dtype="float32")[0],
        "sampling_rate": 16_000})["text"] for h in ours]  # fmt: skip
    assert len(ours) == 50
    assert [words(text) for text in theirs] == [h.hypothesis for h in ours]
    assert len(set(theirs)) > 10, "it says something"


def test_the_folder_loads_as_transformers_own_and_goes_back(exported: Path, run: Path) -> None:
    theirs = Wav2Vec2ForCTC.from_pretrained(exported)
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(theirs.lm_head.weight, best["model.head.weight"])
    assert (exported / "model.safetensors").is_file()
    assert not list(exported.glob("*.bin"))
    assert {p.name for p in exported.iterdir()} >= {
        "config.json",
        "README.md",
        "vocab.json",
        "preprocessor_config.json",
    }
    assert not list(exported.parent.glob(".exported*"))


def test_its_card_is_filled_from_the_run(exported: Path, run: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    block = yaml.safe_load(card.split("---\n")[1])
    rates = RunFolder(run).read_results()["test"]
    metrics = block["model-index"][0]["results"][0]["metrics"]
    assert [m["value"] for m in metrics] == [round(100 * rates["wer"], 2), round(100 * rates["cer"], 2)]
    assert f"- WER: {rates['wer']}" in card
    assert "- learning_rate: 0.005" in card
    assert card.count("\n| ") == 4  # a heading and three validations
    assert "trained from random weights" in card


def test_a_run_with_an_n_gram_has_a_processor_with_it(run: Path, tmp_path: Path) -> None:
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm/words.arpa").write_text(ARPA, encoding="utf-8")
    (tmp_path / "lm/unigrams.txt").write_text("កខ\nគង\n", encoding="utf-8")
    export(RunFolder(run), tmp_path / "out", "tones", tmp_path / "lm/words.arpa")
    processor = Wav2Vec2ProcessorWithLM.from_pretrained(tmp_path / "out")
    assert sorted(processor.decoder._language_model._unigram_set) == ["កខ", "គង"]
    recognizer: Any = pipeline("automatic-speech-recognition", model=str(tmp_path / "out"))
    assert recognizer.type == "ctc_with_lm"


def test_rates_with_the_n_gram_come_from_an_evaluation_of_this_run_s_test_part(run: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = {"run": str(run), "part": "test", "decoder": {"name": "beam_lm"},
        "rates": {"wer": {"rate": 0.123}, "cer": {"rate": 0.045}}}  # fmt: skip
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(found))
    export(RunFolder(run), tmp_path / "out", "tones", evaluation=tmp_path)
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "with LM ngram" in card
    assert "- WER: 0.123" in card
    assert "value: 12.3" in card
    assert f"- WER: {RunFolder(run).read_results()['test']['wer']}" in card, "the greedy rates stay"
    for change in ({"part": "val"}, {"decoder": {"name": "greedy"}}, {"run": "/another"}):
        file.write_text(json.dumps(found | change))
        with pytest.raises(ValueError, match=r"expected .*test and beam_lm"):
            read_evaluation(file, run)


def test_nothing_is_written_over_and_what_is_no_run_is_told(exported: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exists already"):
        export(RunFolder(run), exported, "again")
    with pytest.raises(FileNotFoundError, match=r"config\.yaml does not exist; expected the folder of a finished run"):
        export(RunFolder(tmp_path), tmp_path / "out", "none")
    with pytest.raises(FileNotFoundError, match="--lm FILE names another"):
        export(RunFolder(run), tmp_path / "out", "none", tmp_path / "absent.arpa")
    assert not (tmp_path / "out").exists()


def test_pushing_offline_is_a_clear_error_and_the_folder_stays(exported: Path) -> None:
    before = sorted(exported.iterdir())
    with pytest.raises(ValueError, match=r"--push me/model: the hub did not take it .* is whole and stays"):
        push(exported, "me/model")
    assert sorted(exported.iterdir()) == before


def test_the_command_tells_a_mistake_in_one_paragraph(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "khasr.export", str(tmp_path), "--out", str(tmp_path / "out")],
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "expected the folder of a run" in done.stderr
    assert main.__doc__
