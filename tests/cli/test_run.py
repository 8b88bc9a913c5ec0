"""The command line: mistyped options, help, exit codes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Commands

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lrr=3"], ["optimizer.lrr", "Did you mean: 'lr'", "weight_decay"]),
        (["trainer.max_step=3"], ["max_steps", "Available: max_epochs"]),
        (["foo=1"], ["'foo'", "optimizer"]),
        (["optimizer.lr=fast"], ["optimizer.lr=fast", "Float"]),
        (["data.order=sorted"], ["sorted", "by_length", "random"]),
        (["model=xlsr_3b"], ["model/xlsr_3b", "Available: tiny, xlsr_1b, xlsr_2b, xlsr_300m"]),
        (["logger=[csv,wandbb]"], ["logger/wandbb", "tensorboard"]),
        (["experiment=quick"], ["experiment/quick", "quickstart"]),
        (["optimizer.lr=["], ["optimizer.lr=["]),
        (["data.root=/a(b)"], ["data.root=/a(b)", "quoted twice"]),
        (["lr"], ["'lr'"]),
        (["resume=absent"], ["resume=absent", "config.yaml"]),
    ],
)
def test_mistyped_option(words: list[str], message: list[str], light_command: Commands, tmp_path: Path) -> None:
    done = light_command("khasr.train", *words, cwd=tmp_path, report=True)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for piece in message:
        assert piece in done.stderr
    assert done.stdout == "NO TORCH\n"
    assert list(tmp_path.iterdir()) == []


def test_added_option(light_command: Commands, tmp_path: Path) -> None:
    words = ["+optimizer.foo=1", f"hydra.run.dir={tmp_path}/run"]
    done = light_command("khasr.train", *words, cwd=tmp_path, report=True)
    assert done.returncode == 2
    assert "'foo'" in done.stderr
    assert "weight_decay" in done.stderr
    assert done.stdout == "NO TORCH\n"


@pytest.mark.parametrize(
    "words",
    [
        "model.final_dropout=7.0",
        "data.batch_size=0",
        "trainer.max_steps=0",
        "optimizer.lr=-1e-5",
        "schedule.warmup=-1",
        "optimizer.betas=[0.9]",
        "data.augment.speed=[0]",
        "data.augment.noise_snr_db=[10]",
        "data.augment.gain_db=[3,-3]",
        "data.augment.pause_seconds=[-1,1]",
        "data.augment.join=[0,2]",
        "optimizer.layer_decay=1.5",
        "finetune.freeze_encoder_steps=-1",
        "schedule.final_scale=0 schedule=tri_stage",
        "model.architecture.hidden_size=100",
        "model.architecture.conv_stride=[5,2,2,2,2,2,1]",
    ],
)
def test_range(words: str, light_command: Commands, tmp_path: Path) -> None:
    done = light_command("khasr.train", *words.split(), cwd=tmp_path, report=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{words.split('=')[0]}=")
    assert ": expected " in done.stderr
    assert done.stdout == "NO TORCH\n"
    assert list((tmp_path / "runs").iterdir()) == []


def test_help_of_train(light_command: Commands, tmp_path: Path) -> None:
    done = light_command("khasr.train", "--help", cwd=tmp_path, report=True)
    assert done.returncode == 0
    assert "NO TORCH" in done.stdout
    assert "model=tiny|xlsr_1b|xlsr_2b|xlsr_300m" in done.stdout
    assert re.search(r"optimizer\.lr=1e-05\n\s+Peak learning rate", done.stdout)
    first, rest = done.stdout.split("Groups and choices:")
    often = re.findall(r"^  ([\w.]+)=", first, re.M)
    assert len(often) == 10, "the options that are set most often, before all others"
    assert {"data.root", "optimizer.lr", "seed"} <= set(often) <= set(re.findall(r"^  ([\w.]+)=", rest, re.M))
    assert re.findall(r"^(\w+):$", rest, re.M)[:4] == ["data", "model", "finetune", "optimizer"]
    assert "schedule.hold" not in done.stdout
    assert "schedule.hold=0.4" in light_command("khasr.train", "--help", "schedule=tri_stage", cwd=tmp_path).stdout


COMMANDS = sorted(path.stem for path in (ROOT / "khasr").glob("*.py") if not path.stem.startswith("_"))


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, light_command: Commands, tmp_path: Path) -> None:
    done = light_command(f"khasr.{name}", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m khasr.{name}" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_list_of_commands(light_command: Commands, tmp_path: Path) -> None:
    """`python -m khasr` has one line per command and imports no torch."""
    done = light_command("khasr", cwd=tmp_path, report=True)
    assert done.stdout.endswith("NO TORCH\n")
    assert re.findall(r"^  (\w+) +[A-Z]", done.stdout, re.M) == COMMANDS


def test_prepare_help(light_command: Commands, tmp_path: Path) -> None:
    """`prepare --help` lists only what concerns prepare."""
    done = light_command("khasr.prepare", "--help", cwd=tmp_path)
    sections = {name.split(".")[0] for name in re.findall(r"^  ([\w.]+)=", done.stdout, re.M)}
    assert sections == {"data", "run", "shown", "seed", "progress_bar"}


def test_help_required(light_command: Commands, tmp_path: Path) -> None:
    done = light_command("khasr.tune", "--help", cwd=tmp_path)
    assert re.findall(r"^  (\S+)=\?\?\? \(required\)", done.stdout, re.M) == ["run", "lm"]


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_openmp_spin_count(given: dict[str, str], spins: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import khasr.train, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == [spins, "False"]


def test_cfg_job(light_command: Commands, tmp_path: Path) -> None:
    done = light_command("khasr.train", "--cfg", "job", "model=tiny", cwd=tmp_path, report=True)
    assert done.returncode == 0
    assert "name: tiny" in done.stdout
    assert "NO TORCH" in done.stdout


def test_help_range(light_command: Commands, tmp_path: Path) -> None:
    done = light_command("khasr.train", "--help", "model.final_dropout=7", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_sweep_without_test_part(command: Commands, tmp_path: Path) -> None:
    words = ["-m", "experiment=quickstart", "seed=1,2", "score_test=true", "data=folder", "data.root=/absent"]
    done = command("khasr.train", *words, f"hydra.sweep.dir={tmp_path}/sweep", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("data.root=/absent is not a folder") == 2  # a job that fails does not stop the others
    for seed in (1, 2):
        (folder,) = (tmp_path / "sweep").glob(f"seed-{seed}_*")
        assert "score_test: false" in (folder / "config.yaml").read_text()


def test_unknown_flag(light_command: Commands, tmp_path: Path) -> None:
    done = light_command("khasr.train", "--epochs", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_missing_corpus(tmp_path: Path) -> None:
    """In its own interpreter, as a user starts it."""
    words = ["experiment=quickstart", "data=folder", "data.root=/absent", f"hydra.run.dir={tmp_path}/run"]
    done = subprocess.run(
        [sys.executable, "-m", "khasr.train", *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip().startswith("data.root=/absent is not a folder.")
    assert "Traceback" not in done.stderr
    assert '"status": "failed"' in (tmp_path / "run" / "results.json").read_text()


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_narrow_terminal(name: str, command: Commands, tmp_path: Path) -> None:
    """A terminal that cannot show Khmer gets escapes, not an error."""
    words = {
        "train": ["data=folder", "data.root=ខ្មែរ"], "prepare": ["data=folder", "data.root=ខ្មែរ"],
        "evaluate": ["run=ខ្មែរ"], "tune": ["run=ខ្មែរ", "lm=x"], "sweep": ["ខ្មែរ.yaml"], "report": ["ខ្មែរ"],
        "transcribe": ["ខ្មែរ", "ខ្មែរ.wav"], "export": ["ខ្មែរ", "--out", "x"], "build_lm": ["ខ្មែរ.txt", "--out", "x"],
        "explain": ["ខ្មែរ"], "align": ["x", "x.wav", "ខ្មែរ.txt", "--out", "x"],
    }.get(name, ["--help"])  # fmt: skip
    done = command(f"khasr.{name}".rstrip("."), *words, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert "Traceback" not in done.stderr
    assert "UnicodeEncodeError" not in done.stderr
    assert done.returncode == (2 if name else 0), done.stderr
    assert not name or "\\u1781" in done.stderr


def test_help_into_closed_pipe(tmp_path: Path) -> None:
    """A reader that ends early, as in `--help | head`, causes no traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "khasr.train", "--help"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, b"")
