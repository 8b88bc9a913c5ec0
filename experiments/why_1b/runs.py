"""The runs of this study, in an order that leaves a whole smaller study wherever it is cut.

runs.py WORK           does what is missing, in this process; two of these at once share the work
runs.py WORK --list    the same runs as commands

WORK holds twin/, start/small and start/large; runs go to WORK/runs.
"""

import argparse
import fcntl
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from khasr.config import check_ranges, compose

HERE = Path(__file__).resolve().parent
SIZES = ("small", "large")
UPDATES = 200
LR = 2e-4
COMMON = [
    "data=openslr_km", "data.root=twin", "data.split=./finetune.tsv", "data.batch_size=4", "data.eval_batch_size=12",
    "model=tiny", "model.init=pretrained", "model.head=new", "precision=fp32", "trainer.accumulate_grad_batches=1",
    f"trainer.val_every_steps={UPDATES // 2}", "trainer.log_every_steps=20", "trainer.progress_bar=false",
    # The card's recipe, scaled (PROTOCOL.md): its warm-up is 2,000 of 5,475 steps.
    f"trainer.max_steps={UPDATES}", f"optimizer.lr={LR:g}", "optimizer.head_lr=0.01", "schedule.warmup=0.36",
    "model.hidden_dropout=0", "model.final_dropout=0", "model.activation_dropout=0", "model.mask_time_prob=0.05",
    "model.mask_time_length=10", "model.mask_feature_prob=0", "model.mask_feature_length=6",
]  # fmt: skip
CELLS = {
    "reference": [],
    "h1_lr_x3": [f"optimizer.lr={3 * LR:g}"],
    "h1_lr_x10": [f"optimizer.lr={10 * LR:g}"],
    "h1_warmup": ["schedule.warmup=0.1"],
    "h2_updates": [f"trainer.max_steps={2 * UPDATES}", f"trainer.val_every_steps={2 * UPDATES // 2}"],
    "h3_masks": ["model.mask_time_prob=0.75", "model.mask_feature_prob=0.25", "model.activation_dropout=0.1"],
    "h4_frozen_first": ["finetune.freeze_encoder_steps=0.4"],
}
SEEDS = (1, 2, 3)


def planned() -> Iterator[tuple[str, list[str]]]:
    """Name and overrides of each run: all cells with one seed, then with the next; then the seeds apart (H9)."""
    diagonal = [(cell, seed, seed) for seed in SEEDS for cell in CELLS]
    apart = [("reference", seed, order) for seed in SEEDS for order in SEEDS if seed != order]
    for cell, seed, order in [*diagonal, *apart]:
        for size in SIZES:
            of_size = [f"model.name={size}", f"model.checkpoint=start/{size}"]
            seeds = [f"seed={seed}", f"data.order_seed={order}"]
            yield f"{size}_{cell}_{seed}_{order}", [*COMMON, *of_size, *CELLS[cell], *seeds]


def main() -> None:
    """Does the runs that are not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="", help="runs whose names begin so")
    parser.add_argument("more", nargs="*", help="overrides of all of them, for probes")
    parser.add_argument("--into", default="runs")
    options = parser.parse_intermixed_args()
    work = [(name, o) for name, o in planned() if name.startswith(tuple(options.only.split(",")))]
    if options.list:
        for name, overrides in work:
            print(f"python -m khasr.train hydra.run.dir={options.into}/{name} {shlex.join(overrides)}")
        return
    os.chdir(options.work)  # so that the saved options hold no path of this machine
    shutil.copy(HERE / "finetune.tsv", "finetune.tsv")
    Path(options.into).mkdir(exist_ok=True)
    for name, overrides in work:
        folder = Path(options.into) / name
        # Held until it is closed, or until the process ends, however it does.
        with folder.with_name(f".{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _run(folder, [*overrides, *options.more])


def _run(folder: Path, overrides: list[str]) -> None:
    """The run, unless it is there; from its last checkpoint where it was stopped."""
    from khasr.run.folder import RunFolder
    from khasr.training.callbacks import Diverged
    from khasr.training.fit import fit

    run = RunFolder(folder)
    if run.results.is_file() and run.read_results()["status"] in ("completed", "diverged"):
        return
    config = compose(*overrides)
    check_ranges(config)
    config.resume = str(folder) if run.last.is_file() else None
    print(f"== {folder.name}", flush=True)
    try:
        fit(config, run)
    except Diverged as error:
        print(error, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
