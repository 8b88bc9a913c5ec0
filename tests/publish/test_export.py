"""A run as a Hugging Face folder: transformers' pipeline gives the same text."""

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel, Wav2Vec2ForCTC, Wav2Vec2ProcessorWithLM, pipeline

from khasr import load
from khasr.config import Config, DecoderConfig, ModelConfig
from khasr.data.datamodule import CorpusDataModule
from khasr.decoding.confidence import FEATURES, Confidence, decoder_key
from khasr.decoding.confidence_file import write_confidence
from khasr.decoding.decoder import build_decoder
from khasr.export import main
from khasr.inference.recogniser import recognise
from khasr.inference.transcriber import Transcript
from khasr.lm.kenlm import build_binary
from khasr.lm.spelling import spelling_of, write_spelling
from khasr.model.ctc import CtcModel
from khasr.model.weights import build_model, load_start
from khasr.publish.card import read_evaluation
from khasr.publish.corpus import Stated
from khasr.publish.export import as_transformers, export, push, save_processor
from khasr.run.folder import RunFolder
from khasr.scoring.hypotheses import Hypothesis
from khasr.text.vocabulary import Vocabulary
from khasr.training.fit import fit
from tests.commands import Commands
from tests.conftest import SMALL, write_corpus
from tests.lm.test_lm import needs_lmplz

FRENCH = Stated(["fr"], "cc-by-4.0", "me/tones")

# A handwritten bigram model with the letters of the tones as words.
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
    # Long enough for hypotheses that are not empty; empty ones would be equal for all weights.
    changes = ["trainer.max_steps=150", "trainer.val_every_steps=50", "optimizer.lr=5e-3", "data.augment.speed=[]"]
    fit(compose(*SMALL, f"data.root='{corpus_of_60}'", *changes, "score_test=true"), RunFolder(folder))
    return folder


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    out = run.parent / "exported"
    export(RunFolder(run), out, "tones", stated=FRENCH)
    return out


def khasr_hypotheses(config: Config, run: Path) -> list[Hypothesis]:
    data = CorpusDataModule(config.data, 0, read_test=True)
    data.prepare(False)
    model, vocabulary, _ = build_model(
        load_start(config.model, RunFolder(run).best), data.vocabulary, config.model, "keep"
    )
    data.use_vocabulary(vocabulary)
    decode = build_decoder(config.decoder, vocabulary)
    return [h for part in data.parts for h in recognise(model, data.evaluation_loader(part), decode)]


def words(text: str) -> str:
    # For space, blank, space transformers outputs two spaces, khasr one.
    return " ".join(text.split())


def test_pipeline(exported: Path, run: Path, corpus_of_60: Path, compose: Callable[..., Config]) -> None:
    ours = khasr_hypotheses(compose(*SMALL, f"data.root='{corpus_of_60}'"), run)[:50]
    recognizer = pipeline("automatic-speech-recognition", model=str(exported))
    theirs = [recognizer({"raw": soundfile.read(corpus_of_60 / f"{h.id}.wav", dtype="float32")[0],
        "sampling_rate": 16_000})["text"] for h in ours]  # fmt: skip
    assert len(ours) == 50
    for folder in (run, exported):
        transcriber = load(folder)
        assert [transcriber.transcribe(corpus_of_60 / f"{h.id}.wav").text for h in ours] == [h.hypothesis for h in ours]
    assert [words(text) for text in theirs] == [h.hypothesis for h in ours]
    assert len(set(theirs)) > 10, "hypotheses differ"


def test_loads_in_transformers(exported: Path, run: Path) -> None:
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


def test_card(exported: Path, run: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    block = yaml.safe_load(card.split("---\n")[1])
    rates = RunFolder(run).read_results()["test"]
    metrics = block["model-index"][0]["results"][0]["metrics"]
    assert [m["value"] for m in metrics] == [round(100 * rates["wer"], 2), round(100 * rates["cer"], 2)]
    assert f"- WER: {rates['wer']:.4f}\n" in card
    assert (block["language"], block["license"], block["datasets"]) == (["fr"], "cc-by-4.0", ["me/tones"])
    assert not re.search("khmer|km", card, re.IGNORECASE), "nothing of a different language"
    assert "- learning_rate: 0.005" in card
    assert card.count("\n| ") == 4  # a heading and three validations
    assert "trained from random weights" in card


def test_unknown_and_modes(run: Path, tmp_path: Path) -> None:
    """What is not known is not in the card, the message names it, and the files have the permissions of the umask."""
    before = os.umask(0o027)
    try:
        message = export(RunFolder(run), tmp_path / "out", "tones")
    finally:
        os.umask(before)
    assert message.endswith(
        "Not in the card, because unknown: language (--language fr); licence (--license cc-by-4.0); dataset (--dataset "
        "USER/NAME), without which the card has no model-index."
    )
    block = yaml.safe_load((tmp_path / "out/README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert not {"model-index", "datasets", "language", "license"} & set(block)
    assert {oct(p.stat().st_mode & 0o777) for p in (tmp_path / "out").iterdir()} == {"0o640"}


def test_lm(run: Path, tmp_path: Path) -> None:
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm/words.arpa").write_text(ARPA, encoding="utf-8")
    (tmp_path / "lm/unigrams.txt").write_text("កខ\nគង\n", encoding="utf-8")
    export(RunFolder(run), tmp_path / "out", "tones", tmp_path / "lm/words.arpa")
    processor = Wav2Vec2ProcessorWithLM.from_pretrained(tmp_path / "out")
    assert sorted(processor.decoder._language_model._unigram_set) == ["កខ", "គង"]
    recognizer: Any = pipeline("automatic-speech-recognition", model=str(tmp_path / "out"))
    assert recognizer.type == "ctc_with_lm"


def write_lm_folder(folder: Path, unit: str) -> None:
    """A folder as of build_lm: of words with a spelling model, or of characters."""
    letters = ["|", *"កខគង"]
    lines = [f"{-0.6 - 0.1 * i}\t{letter}\t-0.2" for i, letter in enumerate(letters)]
    characters = (
        f"\\data\\\nngram 1={len(lines) + 3}\nngram 2=2\n\n\\1-grams:\n-2\t<unk>\t0\n-1.5\t<s>\t-0.3\n-1.2\t</s>\t0\n"
        + "\n".join(lines) + "\n\n\\2-grams:\n-0.1\tក ខ\n-0.1\tគ ង\n\n\\end\\\n"
    )  # fmt: skip
    folder.mkdir()
    (folder / "characters.arpa").write_text(characters, encoding="utf-8")
    (folder / "words.arpa").write_text(ARPA, encoding="utf-8")
    build_binary(folder / f"{unit}s.arpa", folder / "lm.binary")
    words = ["កខ", "គង"] if unit == "word" else letters
    (folder / "unigrams.txt").write_text("\n".join(words), encoding="utf-8")
    described = {"unit": unit, "words": len(words), "sources": [{"path": "/private/a.txt"}]}
    if unit == "word":
        write_spelling(spelling_of(folder / "characters.arpa"), folder / "spelling.npz")
        described["spelling"] = {"order": 2}
    (folder / "lm.json").write_text(json.dumps(described), encoding="utf-8")


def constant_confidence(options: DecoderConfig, score: float) -> Confidence:
    """The same confidence for any word: the logistic function of `score`."""
    zeros, ones = dict.fromkeys(FEATURES, 0.0), dict.fromkeys(FEATURES, 1.0)
    return Confidence(decoder_key(options), mean=zeros, deviation=ones, weights=zeros, intercept=score)


@needs_lmplz
@pytest.mark.parametrize("unit", ["word", "character"])
def test_decoder(unit: str, run: Path, corpus_of_60: Path, tmp_path: Path) -> None:
    """khasr gives the run's text and confidences in an exported folder that was moved, without the run and its LM."""
    write_lm_folder(tmp_path / "lm", unit)
    tuned = RunFolder(Path(shutil.copytree(run, tmp_path / "run")))
    weights = DecoderConfig(name="beam_lm", lm=str(tmp_path / "lm"), alpha=2.0, spelling_bonus=0.4)
    tuned.write_decoder(weights)
    for number, options in enumerate([DecoderConfig(name="greedy"), weights]):
        write_confidence(tuned, constant_confidence(options, number))
    files = sorted(corpus_of_60.rglob("*.wav"))[:20]
    assert files

    def transcribed(folder: Path, decoder: str | None = None) -> list[Transcript]:
        transcriber = load(folder, decoder=decoder)
        return [transcriber.transcribe(file) for file in files]

    expected, greedy = transcribed(tuned.path), transcribed(tuned.path, "greedy")
    assert [found.text for found in expected] != [found.text for found in greedy], "the language model changes the text"
    for part, score in ((greedy, 0), (expected, 1)):
        confidences = [word.confidence for found in part for word in found.words]
        assert confidences == pytest.approx([1 / (1 + math.exp(-score))] * len(confidences))
        assert confidences
    message = export(tuned, tmp_path / "out", "tones")
    assert {"word": "n-gram and spelling model", "character": "n-gram of characters"}[unit] in message
    shutil.rmtree(tmp_path / "lm")
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    assert transcribed(moved) == expected
    assert transcribed(moved, "greedy") == greedy
    assert not [path for path in (moved / "lm").iterdir() if b"/private" in path.read_bytes()]
    recognizer: Any = pipeline("automatic-speech-recognition", model=str(moved))
    assert recognizer.type == ("ctc_with_lm" if unit == "word" else "ctc")
    if unit == "word":  # the weights are those of both models together
        assert json.loads((moved / "language_model/attrs.json").read_text())["alpha"] == DecoderConfig().alpha


def test_evaluation(run: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = {"run": str(run), "part": "test", "decoder": {"name": "beam_lm"},
        "rates": {"wer": {"rate": 0.123}, "cer": {"rate": 0.045}}}  # fmt: skip
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(found))
    export(RunFolder(run), tmp_path / "out", "tones", evaluation=tmp_path, stated=FRENCH)
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "with LM ngram" in card
    assert "- WER: 0.1230\n" in card
    assert "value: 12.3" in card
    assert f"- WER: {RunFolder(run).read_results()['test']['wer']:.4f}\n" in card, "the greedy rates stay"
    for change in ({"part": "val"}, {"decoder": {"name": "greedy"}}, {"run": "/another"}):
        file.write_text(json.dumps(found | change))
        with pytest.raises(ValueError, match=r"expected .*test and beam_lm"):
            read_evaluation(file, run)


def test_refused(exported: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exists already"):
        export(RunFolder(run), exported, "again")
    with pytest.raises(FileNotFoundError, match=r"config\.yaml does not exist; expected the folder of a finished run"):
        export(RunFolder(tmp_path), tmp_path / "out", "none")
    with pytest.raises(FileNotFoundError, match="--lm LM selects"):
        export(RunFolder(run), tmp_path / "out", "none", tmp_path / "absent.arpa")
    assert not (tmp_path / "out").exists()


def test_push_offline(exported: Path) -> None:
    before = sorted(exported.iterdir())
    with pytest.raises(ValueError, match=r"--push me/model: the upload failed .* is complete"):
        push(exported, "me/model")
    assert sorted(exported.iterdir()) == before


def test_command_error(command: Commands, tmp_path: Path) -> None:
    done = command("khasr.export", str(tmp_path), "--out", str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "expected the folder of a run (python -m khasr.train)" in done.stderr
    assert main.__doc__


def test_single_words(compose: Callable[..., Config], tmp_path: Path) -> None:
    """A corpus without spaces: the n-gram is exported, and transformers' pipeline decodes with it."""
    corpus = write_corpus(tmp_path / "words")
    table = (corpus / "utterances.tsv").read_text(encoding="utf-8").split("\n")
    rows = [line.split("\t") for line in table if line]
    column = rows[0].index("text")
    for row in rows[1:]:
        row[column] = row[column].split()[0]
    (corpus / "utterances.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n", encoding="utf-8")
    words_of_corpus = sorted({row[column] for row in rows[1:]})
    run = RunFolder(tmp_path / "run")
    fit(compose(*SMALL, f"data.root='{corpus}'"), run)
    lm = tmp_path / "lm.arpa"
    unigrams = "".join(f"-0.8\t{word}\t0\n" for word in words_of_corpus)
    lm.write_text(
        f"\\data\\\nngram 1={len(words_of_corpus) + 3}\nngram 2=1\n\n\\1-grams:\n-1\t<unk>\t0\n-1\t<s>\t0\n-1\t</s>\t0\n"
        f"{unigrams}\n\\2-grams:\n-0.4\t<s> {words_of_corpus[0]}\n\n\\end\\\n",
        encoding="utf-8",
    )
    message = export(run, tmp_path / "out", "words", lm)
    assert "with its n-gram" in message
    assert "interrupted" not in message
    recognizer: Any = pipeline("automatic-speech-recognition", model=str(tmp_path / "out"))
    assert recognizer.type == "ctc_with_lm"
    assert recognizer.model.lm_head.out_features == len(recognizer.decoder._alphabet.labels)
    audio = next(corpus.rglob("*.wav"))
    text = recognizer({"raw": soundfile.read(audio, dtype="float32")[0], "sampling_rate": 16_000})["text"]
    assert " " not in text.strip()


def test_w2v_bert_lm(tmp_path: Path) -> None:
    """The n-gram of a w2v-BERT model is in its folder, and the pipeline uses it."""
    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        conv_depthwise_kernel_size=7)  # fmt: skip
    model = CtcModel(Wav2Vec2BertModel(config), 7, ModelConfig(gradient_checkpointing=False))
    vocabulary = Vocabulary.of_texts(["កខ គង"])
    (tmp_path / "words.arpa").write_text(ARPA, encoding="utf-8")
    out = tmp_path / "out"
    as_transformers(model, vocabulary).save_pretrained(out)
    decoder = DecoderConfig(name="beam_lm", lm=str(tmp_path / "words.arpa"))
    save_processor(model, vocabulary, out, decoder)
    recognizer: Any = pipeline("automatic-speech-recognition", model=str(out))
    assert recognizer.type == "ctc_with_lm"
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0)).numpy()
    assert isinstance(recognizer({"raw": noise, "sampling_rate": 16_000})["text"], str)


@pytest.mark.parametrize("taken", [True, False])
def test_interrupted(taken: bool, run: Path, tmp_path: Path) -> None:
    """The message and the card have the steps that were taken, and no scores of earlier weights."""
    copy = RunFolder(shutil.copytree(run, tmp_path / "run"))
    results = copy.read_results() | {"status": "interrupted"}
    results["train"] = {"planned_steps": 400} | ({"steps": 150} if taken else {})
    copy.write_results(results)
    assert "The run was interrupted: 150 of 400 planned steps were taken" in export(copy, tmp_path / "out", "tones")
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "Training was interrupted: 150 of 400 planned steps were taken" in card
    assert "- training_steps: 150 of 400 planned" in card
    assert "Evaluation results" not in card
    copy.metrics.unlink()
    with pytest.raises(ValueError, match="no validation yet"):
        export(copy, tmp_path / "again", "tones")


def test_damaged_lm(run: Path, tmp_path: Path) -> None:
    (tmp_path / "lm.binary").write_bytes(b"")
    with pytest.raises(ValueError, match="not a complete KenLM model"):
        export(RunFolder(run), tmp_path / "out", "tones", tmp_path)
    assert not (tmp_path / "out").exists()
