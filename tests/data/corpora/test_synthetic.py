import subprocess
import sys
from pathlib import Path

import pytest

from khasr.config import SyntheticConfig
from khasr.data.audio import SAMPLE_RATE
from khasr.data.corpora import read_corpus
from khasr.data.corpora.synthetic import MNEMONICS, grammar_words
from tests.conftest import SHARED, needs_shared

SPEAK = """
import hashlib
from khasr.config import SyntheticConfig
from khasr.data.corpora import read_corpus
c = read_corpus(SyntheticConfig(utterances=30, voices=12))
h = hashlib.sha256()
for u in c.utterances:
    h.update(c.read_audio(u).waveform.tobytes())
print(h.hexdigest())
"""


def test_reproducible() -> None:
    """Two processes synthesise the same samples."""
    hashes = [
        subprocess.run([sys.executable, "-c", SPEAK], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0].strip()) == 64


def test_phrases() -> None:
    corpus = read_corpus(SyntheticConfig(utterances=300, voices=5))
    texts = [u.text for u in corpus.utterances]
    assert len(set(texts)) == 300
    assert {c for t in texts for c in t} - {" "} <= {chr(c) for c in range(0x1780, 0x17D3)}
    assert len({u.speaker for u in corpus.utterances}) == 5
    other = read_corpus(SyntheticConfig(utterances=300, voices=5, corpus_seed=1))
    assert {u.text for u in other.utterances} != set(texts)
    assert other.fingerprint != corpus.fingerprint


def test_audio() -> None:
    corpus = read_corpus(SyntheticConfig(utterances=40))
    seconds = []
    for utterance in corpus.utterances:
        recording = corpus.read_audio(utterance)
        assert 0.02 < recording.peak < 1.0
        seconds.append(len(recording.waveform) / SAMPLE_RATE / len(utterance.text.split()))
    assert 0.15 < min(seconds) <= max(seconds) < 1.0


def test_lexicon_complete() -> None:
    words, lexicon = grammar_words()
    assert sum(map(len, words.values())) == len(lexicon)
    for word, phones in lexicon.items():
        assert all(p in MNEMONICS or p == "." for p in phones), word


def test_own_sentences(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("កា ខា\nកា គា\n", encoding="utf-8")
    (tmp_path / "lexicon.tsv").write_text("# words\nកា\tk aa\nខា\tkh aa\n", encoding="utf-8")
    options = SyntheticConfig(sentences=str(tmp_path / "s.txt"), lexicon=str(tmp_path / "lexicon.tsv"))
    corpus = read_corpus(options)
    assert [u.text for u in corpus.utterances] == ["កា ខា"]
    assert len(corpus.read_audio(corpus.utterances[0]).waveform) > 0
    assert "s.txt:2: no phones for គា" in corpus.faults[0].detail


@pytest.mark.parametrize("options", [{"voices": 0}, {"voices": 99}, {"sentences": "x"}, {"lexicon": "x"}])
def test_bad_options(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"data\.(voices|sentences)"):
        read_corpus(SyntheticConfig(**options))  # type: ignore[arg-type]


@needs_shared
def test_openslr_42() -> None:
    text = SHARED / "data/slr42_text"
    corpus = read_corpus(
        SyntheticConfig(sentences=str(text / "line_index.tsv"), lexicon=str(text / "lexicon.tsv"), utterances=2906)
    )
    assert len(corpus.utterances) + len(corpus.faults) == 2906
    assert len(corpus.faults) < 0.06 * 2906
