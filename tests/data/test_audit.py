from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from khasr.config import Config, DataConfig, PrepareConfig, TextConfig
from khasr.data.audit import audit, count_frames, count_needed_frames, describe
from khasr.data.audited import Audited
from khasr.data.corpora import Fault
from khasr.data.splits import Row, split
from khasr.prepare import prepare
from khasr.text.normalise import normalise
from tests.conftest import SHARED, needs_shared, tones


def test_count_frames() -> None:
    # 320 samples a frame; the receptive field of the first is 400.
    assert [count_frames(n) for n in (0, 399, 400, 719, 720, 16_000)] == [0, 0, 1, 1, 2, 49]


def test_count_needed_frames() -> None:
    assert count_needed_frames("កខ") == 2
    assert count_needed_frames("កកក") == 5


def utterance(id_: str, text: str, part: str = "train", **audio: object) -> Audited:
    about = {"seconds": 1.0, "digest": id_, "peak": 0.5, "level": 0.1, "clipped": 0.0, "edge": 0.01, "rate": 16_000}
    return Audited(id_, "s", text, part, **(about | audio))  # type: ignore[arg-type]


def test_audio_problems() -> None:
    found = audit(
        "x",
        [
            utterance("short", "កក", seconds=0.05),
            utterance("aligned", "កខ", seconds=0.06),
            utterance("silent", "ក", level=0.0, edge=0.0),
            utterance("clipped", "ក", clipped=0.02),
            utterance("cut", "ក", edge=0.2),
            utterance("once", "ក", digest="same"),
            utterance("twice", "ក", digest="same"),
        ],
    )["audio"]
    first = {
        key: found[key]["first"] for key in ("too_short_for_ctc", "silent", "clipped", "cut_at_an_edge", "same_audio")
    }
    assert first == {
        "too_short_for_ctc": ["short"], "silent": ["silent"], "clipped": ["clipped"], "cut_at_an_edge": ["cut"],
        "same_audio": [["once", "twice"]],
    }  # fmt: skip


def test_overlap() -> None:
    rows = [
        utterance("a", "ក ខ"),
        utterance("b", "គ ឃ", "val"),
        utterance("c", "ក ខ", "test"),
        utterance("d", "គ ង ខ", "test"),
    ]
    found = audit("x", rows)["overlap"]
    assert found["test against train"] | {"oov": 0.4} == found["test against train"]
    assert (found["test against train"]["sentences"], found["test against train"]["oov_tokens"]) == (1, 2)
    assert found["test against train and val"]["oov_tokens"] == 1
    assert found["val against train"]["oov"] == 1.0


RAW = [("a", "Un deux, TROIS !", "train"), ("b", "un Deux. l’eau l'eau 25", "val"), ("c", "UN deux а", "test")]


def audit_of(options: TextConfig) -> str:
    rows = [utterance(id_, normalise(text, options), part, raw=text) for id_, text, part in RAW]
    return describe(audit("x", rows, (), options))


def test_advice() -> None:
    """Capitals, punctuation, figures, apostrophes and letters of a second script are found, and nothing about Khmer."""
    report = audit_of(TextConfig())
    for line in (
        "- as in the corpus but for Unicode form and white space (data.text); data/text=latin is a preset for this script",
        "- Warning: 12 word types become 6 when lower-cased and without punctuation. Spellings that sound the same count as "
        "errors of each other (data.text.lowercase=true data.text.punctuation=space; the preset data/text=latin)",
        "- Warning: 1 utterance with figures, which are spoken as words (data.text.numbers=words data.text.language=CODE "
        "writes them so): b",
        "- Warning: apostrophes are written in several ways (data.text.quotes=plain unifies them): ' U+0027 Apostrophe x 1, "
        "’ U+2019 Right Single Quotation Mark x 1",
        "- 1 letter of the script Cyrillic, not Latin: c",
        "- symbols that occur fewer than 5 times: ",
        "| ! U+0021 Exclamation Mark | 1 | a |",
        "| T U+0054 Latin Capital Letter T | 1 | a |",
    ):
        assert line in report
    assert "Khmer" not in report
    assert "coeng" not in report


def test_effects() -> None:
    """For each option that is set, the number of utterances that it changes, with the first as an example."""
    options = TextConfig(lowercase=True, quotes="plain", punctuation="space", keep="'", language="fr", numbers="words")
    report = audit_of(options)
    for line in (
        "- data.text.lowercase=true changes 3 of 3 utterances: 'Un deux, TROIS !' becomes 'un deux, trois !' (a)",
        "- data.text.quotes=plain changes 1 of 3 utterances: ",
        "- data.text.numbers=words changes 1 of 3 utterances: ",
        "- data.text.punctuation=space keep=' changes 2 of 3 utterances: 'un deux, trois !' becomes 'un deux trois' (a)",
    ):
        assert line in report
    assert "Warning" not in report


def test_left_out() -> None:
    report = describe(audit("x", [utterance("a", "ក")], [Fault("b", "no text", "t.tsv:2: b has no text")] * 2))
    assert "- no text: 2 utterances (t.tsv:2: b has no text; " in report


@needs_shared
def test_openslr_42() -> None:
    lines = (SHARED / "data/slr42_text/line_index.tsv").read_text(encoding="utf-8").splitlines()
    rows = [Row(f[0], f[0].split("_")[1], " ".join(f[-1].split())) for f in (line.split("\t") for line in lines)]
    parts = split(rows, DataConfig(split="hf_seed42"))
    part_of = {id_: part for part, ids in parts.items() for id_ in ids}
    found = audit("openslr_km", [Audited(r.id, r.speaker, r.text, part_of[r.id]) for r in rows])
    assert found["all"] == {
        "utterances": 2906, "hours": 0.0, "speakers": 16, "tokens": 26_179, "types": 4347, "sentences": 2799,
    }  # fmt: skip
    assert found["overlap"]["test against train and val"]["sentences"] == 20
    text = found["text"]
    assert (text["coeng_da_ta_types"], text["look_alike_types"]) == (31, 31)
    assert (text["repeated_sentences"], text["repeated_across_speakers"]) == (107, 89)
    assert sum(c != " " for c in text["symbols"]) == 70
    assert text["types_also_written_apart"] == 89


def _options(config: Config) -> PrepareConfig:
    return PrepareConfig(data=config.data, seed=config.seed, progress_bar=False)


def test_prepare(small: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`prepare` writes and prints the audit, and its split.tsv reproduces the split."""
    prepare(_options(small()), tmp_path)
    printed = capsys.readouterr().out
    assert "# Audit of folder" in printed
    assert printed.split("\n\n")[1] in (tmp_path / "audit.md").read_text(encoding="utf-8")
    assert (tmp_path / "audit.json").is_file()
    other = tmp_path / "other"
    other.mkdir()
    again = small(f"data.split='{tmp_path}/split.tsv'", "data.split_seed=9", "data.val_share=0.5")
    prepare(_options(again), other)
    assert (other / "split.tsv").read_text(encoding="utf-8") == (tmp_path / "split.tsv").read_text(encoding="utf-8")


def test_problems_of_files(small: Callable[..., Config], tmp_path: Path) -> None:
    """Clipping, silence and duplicates are found in audio files."""
    root = tmp_path / "c"
    root.mkdir()
    rows = ["audio\ttext\tspeaker"]
    sounds = {
        "silent": np.zeros(16_000, np.float32),
        "loud": np.clip(40 * tones("កខគងច" * 4), -1, 1),
        **{f"fine{i}": tones("កខគងច" * 4, seed=i) for i in range(20)},
        "again": tones("កខគងច" * 4, seed=0),
    }
    for name, samples in sounds.items():
        soundfile.write(root / f"{name}.wav", samples, 16_000)
        rows.append(f"{name}.wav\tកខ\ts")
    (root / "utterances.tsv").write_text("\n".join(rows), encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    prepare(_options(small(f"data.root='{root}'")), out)
    report = (out / "audit.md").read_text(encoding="utf-8")
    assert "- 1 utterance silent (level below 0.001 of full scale): silent" in report
    assert "flat tops at full scale): loud" in report
    assert "- 2 utterances with identical audio: ['fine0', 'again']" in report
