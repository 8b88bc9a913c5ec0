"""The good inputs that are damaged: a corpus of tones, recordings in all formats, a run and a language model."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE, SAMPLES = 16_000, 40_000
LETTERS = "កខគងច"
UTTERANCES = 10

# The formats that khasr accepts, with the encodings that speech is kept in.
ACCEPTED = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"),
    ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("AU", "ULAW"),
    ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("NIST", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip
REFUSED = ["SVX", "VOC", "PAF", "AVR", "SDS", "MAT4", "MAT5", "PVF", "IRCAM", "HTK", "MPC2K", "XI"]

SMALL = [
    "experiment=quickstart", "data=folder", "data.val_share=0.2", "trainer.progress_bar=false", "score_test=true",
    "model.architecture={hidden_size:32,layers:2,heads:2,intermediate_size:64,conv_dim:[16,16,16],pos_conv_kernel:8,"
    "pos_conv_groups:2}", "trainer.max_steps=6", "trainer.val_every_steps=3", "trainer.log_every_steps=2",
]  # fmt: skip


def tones(text: str, seed: int) -> NDArray[np.float32]:
    """A text as sound: 100 ms of a tone for each letter, silence for a space, a little noise."""
    rng = np.random.default_rng(seed)
    times = np.arange(RATE // 10) / RATE
    pieces = [
        0.3 * np.sin(2 * np.pi * (300 + 250 * LETTERS.index(c)) * times) if c in LETTERS else 0 * times for c in text
    ]
    wave = np.concatenate(pieces)
    return (wave + rng.normal(0, 0.003, len(wave))).astype(np.float32)


def recording(container: str, subtype: str | None = None) -> bytes:
    """2.5 s of noise in a format."""
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLES).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, RATE, format=container, subtype=subtype or soundfile.default_subtype(container))
    return buffer.getvalue()


def texts(count: int = UTTERANCES) -> list[str]:
    """The transcripts of the corpus."""
    rng = np.random.default_rng(0)
    return [" ".join("".join(rng.choice(list(LETTERS), 3)) for _ in range(1 + i % 3)) for i in range(count)]


def write_corpus(root: Path, count: int = UTTERANCES) -> Path:
    """A folder with recordings and utterances.tsv."""
    root.mkdir(parents=True)
    rows = ["audio\ttext\tspeaker"]
    for i, text in enumerate(texts(count)):
        soundfile.write(root / f"u{i}.wav", tones(text, i), RATE)
        rows.append(f"u{i}.wav\t{text}\ts{i % 2}")
    (root / "utterances.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def in_child(work: Callable[[], object]) -> None:
    """Does the work in a forked process, so that this one has no threads and can be forked again.

    Raises:
        RuntimeError: the work failed.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the good inputs could not be made")


def write_good(folder: Path) -> None:
    """A corpus, a completed run on it that is tuned and evaluated, and a language model, below the folder."""
    from khasr import build_lm, tune
    from khasr.cli.run import run
    from khasr.cli.run_options import root_of_run
    from khasr.training.task import train

    corpus = write_corpus(folder / "corpus", 40)
    run_folder = folder / "run"
    in_child(lambda: run("train", train, arguments=[*SMALL, f"data.root={corpus}", f"hydra.run.dir={run_folder}"]))
    sys.argv = ["build_lm", "--run", str(run_folder), "--out", str(folder / "lm"), "--order", "2", "--prune", "0"]
    in_child(lambda: sys.exit(build_lm.main()))
    words = [f"run={run_folder}", f"lm={folder / 'lm'}", "trials=2"]
    in_child(lambda: run("tune", tune.tune, root_of_run("tune"), arguments=words))
