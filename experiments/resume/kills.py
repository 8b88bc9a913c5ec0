"""Kills runs at random moments with SIGKILL, starts them again, and compares them with an uninterrupted run.

python experiments/resume/kills.py 20               20 kills of runs with an average of the weights and a frozen encoder
python experiments/resume/kills.py 20 finetune=lora      the same with further options

Every process is started with the same command, as a scheduler would: it resumes the run if there is a checkpoint, and
starts from the first step otherwise. Prints what each kill interrupted; ends with exit code 1 if a run differs.
"""

import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from khasr.config import Config, compose
from khasr.run.folder import RunFolder
from khasr.run.outcome import is_unfinished
from khasr.training.fit import fit

OPTIONS = [
    "experiment=quickstart", "data=folder", "data.val_share=0.2", "data.speaker_column=null",
    "score_test=false", "trainer.progress_bar=false",
    "model.architecture={hidden_size:32,layers:2,heads:2,intermediate_size:64,conv_dim:[16,16,16],pos_conv_kernel:8,"
    "pos_conv_groups:2}",
    "model.mask_time_prob=0.3", "model.mask_time_length=2", "model.hidden_dropout=0.1", "model.layerdrop=0.2",
    "finetune=encoder_frozen_first", "optimizer.ema_decay=0.9", "optimizer.average_checkpoints=2",
    "trainer.accumulate_grad_batches=2", "trainer.max_steps=16", "trainer.val_every_steps=2",
    "trainer.log_every_steps=1",
]  # fmt: skip
SESSION = ("seconds", "audio_seconds_per_second", "peak_memory_gib", "time")  # of the clock and the process


def write_corpus(root: Path) -> None:
    """24 utterances of noise, each with a random word."""
    rng = np.random.default_rng(0)
    root.mkdir()
    rows = ["audio\ttext"]
    for i in range(24):
        soundfile.write(root / f"u{i:02d}.wav", 0.1 * rng.standard_normal(rng.integers(6_000, 12_000)), 16_000)
        rows.append(f"u{i:02d}.wav\t{''.join(rng.choice(list('កខគង'), 3))}")
    (root / "utterances.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def start(config: Config, folder: RunFolder) -> int:
    """Starts or resumes the run in a separate process; returns the process id."""
    folder.path.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with (folder.path.parent / "output.txt").open("a") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                if is_unfinished(folder.path, config):
                    config.resume = str(folder.path)
                fit(config, folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return child


def state_at_kill(folder: RunFolder) -> str:
    """What the killed process left: its checkpoints, and whether one was being written."""
    names = sorted(p.name for p in folder.checkpoints.glob("*")) if folder.checkpoints.is_dir() else []
    writing = [name for name in names if name.endswith((".partial", ".pending"))]
    agree = "no last.ckpt"
    if folder.last.is_file():
        best_step = torch.load(folder.last, weights_only=True)["callbacks"]["Checkpoints"]["best_step"]
        agree = (
            f"best.ckpt is of step {torch.load(folder.best, weights_only=True)['global_step']}, last.ckpt refers to "
        )
        agree += f"step {best_step}"
    return f"{agree}{f'; {writing[0]} was being written' if writing else ''}"


def differences(ours: Any, theirs: Any, path: str) -> list[str]:
    """The places where two checkpoints differ, except in times."""
    if isinstance(ours, torch.Tensor):
        return [] if torch.equal(ours, theirs) else [path]
    if isinstance(ours, dict) and ours.keys() == theirs.keys():
        keys = [key for key in ours if "seconds" not in str(key) or str(key) == "audio_seconds"]
        return [place for key in keys for place in differences(ours[key], theirs[key], f"{path}/{key}")]
    if isinstance(ours, list | tuple) and len(ours) == len(theirs):
        return [place for i in range(len(ours)) for place in differences(ours[i], theirs[i], f"{path}/{i}")]
    return [] if ours == theirs else [path]


def compare(ours: RunFolder, theirs: RunFolder) -> list[str]:
    """The differences of two finished runs: checkpoints, scores, and the steps in metrics.csv."""
    found = []
    for path in (theirs.best, theirs.last):
        pair = [torch.load(folder.checkpoints / path.name, weights_only=True) for folder in (ours, theirs)]
        for key in ("state_dict", "average", "optimizer_states", "lr_schedulers", "callbacks", "window", "global_step"):
            found += differences(pair[0].get(key), pair[1].get(key), f"{path.name}/{key}")
    results = [folder.read_results() for folder in (ours, theirs)]
    found += differences(results[0]["val"], results[1]["val"], "val")
    train = [{k: v for k, v in each["train"].items() if k not in SESSION} for each in results]
    found += differences(train[0], train[1], "train")
    steps = [[line.split(",")[0] for line in f.metrics.read_text().splitlines()] for f in (ours, theirs)]
    return found + ([] if steps[0] == steps[1] else ["metrics.csv"])


class Kills:
    """Kills processes until a number of kills is reached, each at a random moment of its first `seconds`."""

    def __init__(self, wanted: int, seconds: float) -> None:
        self.left = wanted
        self._seconds = seconds
        self._random = random.Random(0)

    def wait(self, child: int) -> int | None:
        """The exit status of a process, or None if it was killed here."""
        ends = time.monotonic() + self._random.uniform(0.1, 1.0) * self._seconds
        while self.left:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status
            if time.monotonic() > ends:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                self.left -= 1
                return None
            time.sleep(0.005)
        return os.waitpid(child, 0)[1]


def main() -> int:
    """Starts runs until the kills are done, and compares each finished run with the uninterrupted one."""
    wanted, more = int(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["KHASR_CACHE"] = str(root / "cache")
        write_corpus(root / "corpus")
        options = [*OPTIONS, f"data.root='{root / 'corpus'}'", *more]

        seconds = 0.0
        for name in ("first", "whole"):  # the first fills the caches
            began = time.monotonic()
            whole = RunFolder(root / name / "run")
            if Kills(0, 0).wait(start(compose(*options), whole)) != 0:
                return failed(whole)
            seconds = time.monotonic() - began

        kills, runs, wrong = Kills(wanted, seconds), 0, False
        while kills.left:
            runs += 1
            folder = RunFolder(root / f"run_{runs}" / "run")
            while (status := kills.wait(start(compose(*options), folder))) is None:
                print(f"kill {wanted - kills.left:2d}: {state_at_kill(folder)}", flush=True)
                if folder.results.is_file() and folder.read_results()["status"] == "completed":
                    status = 0  # killed while the learning curve was drawn
                    break
            if status != 0:
                return failed(folder)
            found = compare(folder, whole)
            wrong = wrong or bool(found)
            print(f"run {runs} is finished: {f'differs in {found[:5]}' if found else 'equal'}", flush=True)
    print(f"{wanted} kills, {runs} runs, {'NOT EQUAL' if wrong else 'all equal'} to the uninterrupted run")
    return 1 if wrong else 0


def failed(folder: RunFolder) -> int:
    """Prints the output of a process that ended with an error."""
    print((folder.path.parent / "output.txt").read_text())
    return 1


if __name__ == "__main__":
    sys.exit(main())
