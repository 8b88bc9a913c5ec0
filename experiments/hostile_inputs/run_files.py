"""Files of runs, caches and language models that are missing, cut, empty, edited or replaced."""
# ruff: noqa: E501

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import good
from case import BOMB, PREPARE, Case, Damage, flip

EVALUATE = ["evaluate", "run=FOLDER/run", "part=test", "hydra.run.dir=FOLDER/out", "resamples=100"]
TRANSCRIBE = ["transcribe", "FOLDER/run", "GOOD/corpus/u0.wav"]
EXPORT = ["export", "FOLDER/run", "--out", "FOLDER/exported"]
RESUME = ["train", "resume=FOLDER/run", "trainer.max_steps=7"]


def run_folders(seed: int, good_run: Path, lm: Path) -> Iterator[Case]:
    """Files of a run, of its caches and of a language model that are missing, cut, empty, edited or replaced."""
    rng = random.Random(seed)
    common: dict[str, Damage | None] = {
        "missing": None, "empty": lambda d: b"", "cut": lambda d: d[: len(d) // 2], "cut by one byte": lambda d: d[:-1],
        "zeros": lambda d: bytes(len(d)), "3 bits": flip(rng, 0, 10**9, 3), "30 bits": flip(rng, 0, 10**9, 30),
        "text": lambda d: b"version https://git-lfs.github.com/spec/v1\n", "not UTF-8": lambda d: b"\xff\xfe" + d,
        "a folder": lambda d: b"FOLDER", "bytes behind": lambda d: d + rng.randbytes(300),
    }  # fmt: skip
    yaml_edits = {
        "alias bomb": BOMB.encode(), "python object": b"!!python/object/apply:os.system [id]\n", "a list": b"[1]\n", "null": b"null\n",
        "deep": b"[" * 100_000, "2 MB": b"a: " + b"x" * 2_000_000,
    }  # fmt: skip
    edits: dict[str, list[tuple[str, Damage]]] = {
        "config.yaml": [
            ("unknown option", lambda d: d + b"\nfoo: 1\n"), ("interpolation", lambda d: d.replace(b"name: tiny", b"name: ${oc.env:HOME}")),
            ("1e6 layers", lambda d: d.replace(b"layers: 2", b"layers: 1000000")), ("lr inf", lambda d: d.replace(b"lr: ", b"lr: .inf #")),
            ("negative batch", lambda d: d.replace(b"batch_size: ", b"batch_size: -")),
            ("hidden size as text", lambda d: d.replace(b"hidden_size: 32", b"hidden_size: large")),
        ],
        "decoder.yaml": [("unknown name", lambda d: d + b"foo: 1\n"), ("alpha nan", lambda d: d.replace(b"alpha: ", b"alpha: .nan #")),
                         ("beam width 1e9", lambda d: d.replace(b"beam_width: ", b"beam_width: 1000000000 #")),
                         ("lm elsewhere", lambda d: d.replace(b"lm: ", b"lm: /etc/passwd #"))],
        "results.json": [("a list", lambda d: b"[]"), ("NaN", lambda d: b'{"status": NaN}'), ("deep", lambda d: b"[" * 100_000)],
    }  # fmt: skip
    commands = {
        "config.yaml": [EVALUATE, TRANSCRIBE, EXPORT, RESUME], "results.json": [EXPORT, RESUME], "decoder.yaml": [EVALUATE, TRANSCRIBE],
        "split.tsv": [EVALUATE, RESUME], "checkpoints/best.ckpt": [EVALUATE, EXPORT], "checkpoints/last.ckpt": [RESUME],
        "checkpoints/start.ckpt": [RESUME], "metrics.csv": [RESUME], "hypotheses.tsv": [EXPORT, ["report", "FOLDER/run", "--out", "FOLDER/report"]],
    }  # fmt: skip
    for file, uses in commands.items():
        damages = [*common.items(), *edits.get(file, [])]
        if file.endswith(".yaml"):
            damages += [(name, lambda d, t=text: t) for name, text in yaml_edits.items()]
        for number, (name, damage) in enumerate(damages):
            command = uses[number % len(uses)]
            same = command is EVALUATE and file not in ("config.yaml", "decoder.yaml")
            yield Case("run", f"{file}: {name}", command, _damaged(good_run, "run", file, damage), same=same)
    report: dict[str, tuple[str, Damage]] = {
        "config.yaml: alias bomb": ("config.yaml", lambda d: BOMB.encode()),
        "config.yaml: deep": ("config.yaml", lambda d: b"[" * 100_000),
        "config.yaml: empty": ("config.yaml", lambda d: b""),
        "results.json: deep": ("results.json", lambda d: b"[" * 100_000),
        "results.json: empty": ("results.json", lambda d: b""),
        "metrics.csv: zeros": ("metrics.csv", lambda d: bytes(len(d))),
    }
    for name, (file, damage) in report.items():
        words = ["report", "FOLDER/run", "--out", "FOLDER/report"]
        yield Case("run", name, words, _damaged(good_run, "run", file, damage))
    cached = next((good_run / "log_probs").glob("log_probs-val-*.npz")).relative_to(good_run)
    tune = ["tune", "run=FOLDER/run", "lm=GOOD/lm", "trials=1"]
    for name, damage in common.items():

        def cached_run(folder: Path, damage: Damage | None = damage) -> None:
            _damaged(good_run, "run", str(cached), damage)(folder)
            # The name of a cache depends on the path of the weights.
            shutil.rmtree(folder / "run" / "checkpoints")
            (folder / "run" / "checkpoints").symlink_to(good_run / "checkpoints")

        yield Case("cache", f"log_probs: {name}", tune, cached_run)
    decode = [
        "evaluate",
        "run=GOOD/run",
        "part=val",
        "hydra.run.dir=FOLDER/out",
        "decoder=beam_lm",
        "decoder.lm=FOLDER/lm",
        "resamples=100",
    ]
    for file in ("lm.binary", "unigrams.txt", "lm.json"):
        for name, damage in common.items():
            yield Case("lm", f"{file}: {name}", decode, _damaged(lm, "lm", file, damage))
    for file in ("utterances.arrow", "made.json"):
        for name, damage in common.items():

            def make(folder: Path, file: str = file, damage: Damage | None = damage) -> None:
                # The cache that preparing the same corpus made.
                shutil.copytree(good_run.parent / "prepared", folder, dirs_exist_ok=True)
                entry = next((folder / "cache").glob("*/made.json")).parent
                _replace(entry / file, damage)

            words = [word.replace("FOLDER/c", "GOOD/prepared/c") if "root" in word else word for word in PREPARE]
            yield Case("cache", f"{file}: {name}", words, make, records=good.UTTERANCES)


def _replace(path: Path, damage: Damage | None) -> None:
    data = path.read_bytes()
    made = None if damage is None else damage(data)
    path.unlink()
    if made == b"FOLDER":
        path.mkdir()
    elif made is not None:
        path.write_bytes(made)


def _damaged(source: Path, name: str, file: str, damage: Damage | None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        shutil.copytree(source, folder / name)
        _replace(folder / name / file, damage)

    return make
