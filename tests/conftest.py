"""A corpus, a model and a run, all small, made for the tests: no network, no GPU."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

# Before anything of Hugging Face's or wandb's is imported: no test reaches for the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"

import khasr  # noqa: F401  (before torch: it keeps OpenMP's threads from spinning)
from tests.commands import Commands

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="../shared is not here")


def pytest_configure(config: pytest.Config) -> None:
    """Hides GPUs from all tests but those of `pytest -m gpu`: small runs would compile and train there."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


LETTERS = "កខគងច"
RATE = 16_000


def tones(text: str, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A text as sound: a tone of 100 ms for each letter, silence for a space, a little noise."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(0.1 * rate)) / rate
    pieces = [
        0.3 * np.sin(2 * np.pi * (300 + 250 * LETTERS.index(c)) * times) if c in LETTERS else 0 * times for c in text
    ]
    wave = np.concatenate(pieces)
    return (wave + rng.normal(0, 0.003, len(wave))).astype(np.float32)


def write_corpus(root: Path, count: int = 40, seed: int = 0) -> Path:
    """A folder with utterances.tsv: words of tones, two speakers."""
    rng = np.random.default_rng(seed)
    (root / "audio").mkdir(parents=True)
    rows = ["audio\ttext\tspeaker"]
    for i in range(count):
        words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 4))) for _ in range(rng.integers(1, 4))]
        text = " ".join(words)
        soundfile.write(root / "audio" / f"u{i:03d}.wav", tones(text, seed=i), RATE)
        rows.append(f"audio/u{i:03d}.wav\t{text}\ts{i % 2}")
    (root / "utterances.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "tones")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("KHASR_CACHE", str(cache))


def pytest_collection_finish() -> None:
    """Keeps the garbage collector from searching the imported modules again and again, a quarter of composing's time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def light_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands that end before torch is imported, and sweeps and searches of runs that do not import it."""
    with Commands(tmp_path_factory.mktemp("light")).served(
        "khasr.cli.run", "khasr.cli.multirun.launcher", "khasr.cli.multirun.search", "khasr.cli.multirun.table",
        "hydra_plugins.hydra_optuna_sweeper._impl", "optuna.storages._rdb.models", "alembic.command", "joblib", "submitit",
    ) as commands:  # fmt: skip
        yield commands


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands that import torch."""
    imported = ("khasr.cli.run", "khasr.training.fit", "datasets", "pyctcdecode")
    with Commands(tmp_path_factory.mktemp("command")).served(*imported) as commands:
        yield commands


@pytest.fixture(autouse=True)
def _without_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no learning curve, which takes as long as their training, unless the test has the marker `picture`."""
    if "khasr.training.fit" in sys.modules and request.node.get_closest_marker("picture") is None:
        monkeypatch.setattr("khasr.training.fit.draw_learning_curve", lambda *arguments: None)


SMALL = [
    "experiment=quickstart",
    "data=folder",
    "model.architecture={hidden_size:32,layers:2,heads:2,intermediate_size:64,conv_dim:[16,16,16],pos_conv_kernel:8,pos_conv_groups:2}",
    "data.val_share=0.2",
    "trainer.max_steps=6",
    "trainer.val_every_steps=3",
    "trainer.log_every_steps=2",
    "trainer.progress_bar=false",
]


@pytest.fixture(scope="session")
def compose() -> Callable[..., object]:
    """Typed options from overrides, as the command line would give them."""
    from tests.composed import composed

    return composed


@pytest.fixture
def small(compose: Callable[..., object], corpus: Path) -> Callable[..., object]:
    """A configuration that trains in a second on the corpus of tones."""
    return lambda *overrides: compose(*SMALL, f"data.root='{corpus}'", *overrides)


@pytest.fixture(scope="session")
def finished(compose: Callable[..., object], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a completed run. Tests that change it copy it first."""
    from khasr.run.folder import RunFolder
    from khasr.training.fit import fit

    folder = tmp_path_factory.mktemp("finished") / "run"
    os.environ["KHASR_CACHE"] = str(folder.parent / "cache")
    fit(compose(*SMALL, f"data.root='{corpus}'", "score_test=true"), RunFolder(folder))  # type: ignore[arg-type]
    return folder
