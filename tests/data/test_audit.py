from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from khasr.config import Config, DataConfig
from khasr.data.audit import Audited, audit, count_frames, count_needed_frames, describe
from khasr.data.corpora import Fault
from khasr.data.splits import Row, split
from khasr.prepare import prepare
from tests.conftest import SHARED, needs_shared, tones


def test_frames_are_those_of_the_encoder() -> None:
    # 320 samples a frame; the receptive field of the first is 400.
    assert [count_frames(n) for n in (0, 399, 400, 719, 720, 16_000)] == [0, 0, 1, 1, 2, 49]


def test_repeats_need_a_blank_between_them() -> None:
    assert count_needed_frames("កខ") == 2
    assert count_needed_frames("កកក") == 5


def said(id_: str, text: str, part: str = "train", **audio: object) -> Audited:
    about = {"seconds": 1.0, "digest": id_, "peak": 0.5, "level": 0.1, "clipped": 0.0, "edge": 0.01, "rate": 16_000}
    return Audited(id_, "s", text, part, **(about | audio))  # type: ignore[arg-type]


def test_what_is_wrong_with_audio_is_found() -> None:
    found = audit(
        "x",
        [
            said("short", "កក", seconds=0.05),
            said("aligned", "កខ", seconds=0.06),
            said("silent", "ក", level=0.0, edge=0.0),
            said("clipped", "ក", clipped=0.02),
            said("cut", "ក", edge=0.2),
            said("once", "ក", digest="same"),
            said("twice", "ក", digest="same"),
        ],
    )["audio"]
    first = {
        key: found[key]["first"] for key in ("too_short_for_ctc", "silent", "clipped", "cut_at_an_edge", "same_audio")
    }
    assert first == {
        "too_short_for_ctc": ["short"], "silent": ["silent"], "clipped": ["clipped"], "cut_at_an_edge": ["cut"],
        "same_audio": [["once", "twice"]],
    }  # fmt: skip


def test_overlap_counts_sentences_and_words_that_training_has_not() -> None:
    rows = [said("a", "ក ខ"), said("b", "គ ឃ", "val"), said("c", "ក ខ", "test"), said("d", "គ ង ខ", "test")]
    found = audit("x", rows)["overlap"]
    assert found["test against train"] | {"oov": 0.4} == found["test against train"]
    assert (found["test against train"]["sentences"], found["test against train"]["oov_tokens"]) == (1, 2)
    assert found["test against train and val"]["oov_tokens"] == 1
    assert found["val against train"]["oov"] == 1.0


def test_what_was_left_out_is_told_by_reason_with_the_first() -> None:
    report = describe(audit("x", [said("a", "ក")], [Fault("b", "no text", "t.tsv:2: b has no text")] * 2))
    assert "- no text: 2 utterances (t.tsv:2: b has no text; " in report


@needs_shared
def test_the_real_transcripts_have_what_is_known_of_them() -> None:
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


def test_prepare_writes_and_prints_the_audit_and_a_split_that_can_be_used_again(
    small: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(small(), tmp_path)
    told = capsys.readouterr().out
    assert "# Audit of folder" in told
    assert told.split("\n\n")[1] in (tmp_path / "audit.md").read_text(encoding="utf-8")
    assert (tmp_path / "audit.json").is_file()
    other = tmp_path / "other"
    other.mkdir()
    prepare(small(f"data.split='{tmp_path}/split.tsv'", "data.split_seed=9", "data.val_share=0.5"), other)
    assert (other / "split.tsv").read_text(encoding="utf-8") == (tmp_path / "split.tsv").read_text(encoding="utf-8")


def test_flat_tops_silence_and_doubles_of_real_files_are_seen(small: Callable[..., Config], tmp_path: Path) -> None:
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
    prepare(small(f"data.root='{root}'"), out)
    report = (out / "audit.md").read_text(encoding="utf-8")
    assert "- 1 utterances silent (level below 0.001 of full scale): silent" in report
    assert "flat tops at full scale): loud" in report
    assert "- 2 utterances with the same audio as another: ['fine0', 'again']" in report
