"""Hostile command lines, sweep files and texts for language models."""
# ruff: noqa: E501

from collections.abc import Iterator
from pathlib import Path

import good
from case import BOMB, Case

TRAIN = ["train", *good.SMALL, "data.root=GOOD/corpus", "hydra.run.dir=FOLDER/run", "trainer.max_steps=1"]
# Overrides of a run that would otherwise train.
OVERRIDES = [
    "optimizer.lr=inf", "optimizer.lr=nan", "optimizer.lr=-1", "optimizer.lr=1e400", "optimizer.lr=${oc.env:HOME}", "optimizer.lr=0x10",
    "model.architecture.layers=1000000", "model.architecture.layers=0", "model.architecture.hidden_size=1000000007",
    "model.architecture.conv_dim=[]", "model.architecture.conv_dim=[0]", "model.architecture.heads=7", "data.batch_size=0",
    "data.batch_size=1000000000", "data.val_share=nan", "data.val_share=2", "data.min_seconds=inf", "data.max_seconds=-1", "seed=-1",
    "seed=99999999999999999999", "trainer.max_steps=-5", "trainer.max_epochs=0", "data.root=''", "data.root=null", "data.root=/dev/null",
    "data.root='/proc/self/mem'", "data.table=..", "data.table=''", "data.table=/dev/zero", "data.cache_dir=/proc/x", "data.text.form=x",
    "+hydra.callbacks.e._target_=os.system", "hydra.job_logging.x=1", "hydra.searchpath=[file:///]", "hydra.launcher._target_=x",
    "hydra.run.dir=/proc/x", "hydra.run.dir=''", "--config-dir=/", "--experimental-rerun=x", "--unknown", "-", "--", "=", "a=", "=a", "a=b=c",
    "data.split=/", "data.split=.", "data.split=speaker_fold=0/0", "data.split=speaker_fold=1/99999999", "model.checkpoint=/dev/zero",
    "model.checkpoint=..", "resume=..", "resume=/dev/null", "decoder.lm=/dev/zero", "decoder=beam_lm", "decoder=../x", "model=x\x1b[2J",
    "data.text.units=\x07", "data.root=a\x1b[31mb", "data.table=a\nb", "logger=[csv,csv]", "logger=[{}]", "experiment=[quickstart,quickstart]",
    "trainer={max_steps:{a:1}}", "trainer.max_steps=[1]", "schedule.warmup_steps=1e99", "data.augment.noise_snr_db=[20,5]", "data.augment.join=[0]",
    "data.augment.speed=[0]", "model.mask_time_prob=2", "data.order=x", "precision=x", "trainer.devices=99", "trainer.accelerator=tpu", "~data",
    "optimizer.betas=[1,2,3]", "optimizer.betas=[2,2]", "data.text={a:1}", "+a.b.c=1", "data.limit=-1", "a" * 100_000, "seed=" + "[" * 500,
    "data.corpora=[{data:mix}]", "data=mix", "data=hub", "data=synthetic", "data=openslr_km",
]  # fmt: skip
COMMANDS = [
    ["transcribe", "GOOD/run", "absent.wav"], ["transcribe", "GOOD/run", "/dev/null"], ["transcribe", "GOOD/run", "FOLDER"],
    ["transcribe", "absent", "GOOD/corpus/u0.wav"], ["transcribe", "GOOD/corpus", "GOOD/corpus/u0.wav"],
    ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--chunk-seconds", "0"], ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--chunk-seconds", "nan"],
    ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--chunk-seconds", "inf"], ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--stride-seconds", "-1"],
    ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--n-best", "1000000000", "--decoder", "beam"],
    ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--n-best", "-1"], ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--out", "/dev/null"],
    ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--out", "/proc/x"], ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--decoder", "beam_lm"],
    ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--lm", "/dev/zero", "--decoder", "beam_lm"],
    ["transcribe", "GOOD/run", "GOOD/corpus/u0.wav", "--lm", "GOOD/corpus", "--decoder", "beam_lm"],
    ["transcribe", "GOOD/run", "x" * 5_000], ["transcribe", "GOOD/run", "a\0b"], ["transcribe", "GOOD/run", ""], ["transcribe", "", ""], ["transcribe"],
    ["evaluate"], ["evaluate", "run="], ["evaluate", "run=null"], ["evaluate", "run=GOOD/run", "part=x"], ["evaluate", "run=GOOD/run", "resamples=0"],
    ["evaluate", "run=GOOD/run", "resamples=1000000000000"], ["evaluate", "run=GOOD/run", "against=absent"], ["evaluate", "run=GOOD/run", "against=GOOD/run"],
    ["evaluate", "run=GOOD/corpus"], ["evaluate", "run=GOOD/run", "data.root=absent"], ["evaluate", "run=GOOD/run", "decoder=beam", "decoder.beam_width=0"],
    ["evaluate", "run=GOOD/run", "decoder=beam", "decoder.beam_width=1000000000"], ["evaluate", "run=[a,b]"], ["evaluate", "run={a:1}"],
    ["evaluate", "run=GOOD/run", "hydra.run.dir=/dev/null"], ["evaluate", "run=GOOD/run", "hydra.run.dir=/dev/null/x"],
    ["tune", "run=GOOD/run"], ["tune", "run=GOOD/run", "lm=absent"], ["tune", "run=GOOD/run", "lm=GOOD/lm", "trials=0"], ["tune", "run=GOOD/run", "lm=GOOD/lm", "trials=-1"],
    ["tune", "run=GOOD/run", "lm=GOOD/lm", "trials=1", "out=/dev/null"], ["tune", "run=GOOD/run", "lm=GOOD/lm", "trials=1", "out=/proc/x"],
    ["tune", "run=GOOD/run", "lm=GOOD/corpus/u0.wav", "trials=1", "out=FOLDER/o"], ["tune", "run=GOOD/run", "lm=GOOD/lm", "trials=1", "beam_width=0", "out=FOLDER/o"],
    ["export", "GOOD/run"], ["export", "absent", "--out", "FOLDER/e"], ["export", "GOOD/run", "--out", "/dev/null"], ["export", "GOOD/run", "--out", "/proc/x"],
    ["export", "GOOD/run", "--out", "FOLDER/e", "--lm", "absent"], ["export", "GOOD/run", "--out", "FOLDER/e", "--evaluation", "absent"],
    ["export", "GOOD/run", "--out", "FOLDER/e", "--name", "a\x1b[2J\nb: c"], ["report", "absent"], ["report", "/dev/null"], ["report"],
    ["prepare", "data=folder"], ["prepare", "data=folder", "data.root=absent"], ["prepare", "data=folder", "data.root=/dev/null"],
    ["prepare", "data=openslr_km", "data.root=GOOD/corpus"], ["prepare", "data=openslr_km", "data.root=GOOD/corpus/u0.wav"],
    ["prepare", "data=hub", "data.root=GOOD/corpus"], ["prepare", "data=hub", "data.dataset=a/b/c/d"], ["prepare", "data=hub", "data.root=/", "data.files=/*"],
    ["prepare", "data=hub", "data.root=GOOD/corpus", "data.files='**'"], ["prepare", "data=synthetic", "data.voices=99999"], ["prepare", "data=mix"],
    ["sweep"], ["sweep", "absent.yaml"], ["sweep", "/dev/null"], ["sweep", "FOLDER"],
]  # fmt: skip
HEAD = "method: grid\nparameters:\n"
SWEEPS = {
    "empty": "", "a list": "[1]", "a number": "1", "not YAML": "a: [", "tabs": "\tmethod: grid", "NUL": "a: \0", "alias bomb": BOMB,
    "merge key": "a: &a {b: 1}\nc: {<<: *a}", "python object": "!!python/object/apply:os.system [id]", "two documents": "a: 1\n---\nb: 2\n",
    "deep": "{a: " * 5_000, "2 MB": "a: " + "x" * 2_000_000, "no parameters": "method: grid", "parameters of a list": "method: grid\nparameters: [1]",
    "unknown method": "method: x\nparameters: {seed: {value: 1}}", "method of a mapping": "method: {a: 1}\nparameters: {seed: {value: 1}}",
    "no values": HEAD + "  seed: {values: []}", "values of a mapping": HEAD + "  seed: {values: [{a: 1}]}", "null": HEAD + "  data.batch_seconds: {values: [null, 2]}",
    "nan": HEAD + "  optimizer.lr: {value: .nan}", "date": HEAD + "  seed: {value: 2020-01-01}", "binary": HEAD + "  seed: {value: !!binary aGk=}",
    "interpolation": HEAD + "  model.name: {value: '${oc.env:HOME}'}", "env": HEAD + "  data.root: {value: '${env:HOME}'}",
    "callbacks": HEAD + "  +hydra.callbacks.e._target_: {value: os.system}", "job_logging": HEAD + "  hydra.job_logging.x: {value: 1}",
    "searchpath": HEAD + "  hydra.searchpath: {value: [/]}", "launcher setup": HEAD + "  hydra.launcher.setup: {value: [id]}",
    "target": HEAD + "  optimizer._target_: {value: os.system}", "target in a value": HEAD + "  trainer: {value: {_target_: os.system}}",
    "choice by path": HEAD + "  model: {value: ../../etc/passwd}", "newline in a name": HEAD + "  'seed=1\\nx': {value: 1}", "spaces in a name": HEAD + "  'a b': {value: 1}",
    "flag as a name": HEAD + "  --config-dir: {value: /}", "empty name": HEAD + "  '': {value: 1}", "number as a name": HEAD + "  1: {value: 1}",
    "escape codes": HEAD + '  "a\\e[2J": {value: 1}', "command": HEAD + "  seed: {value: 1}\ncommand: [rm, -rf, /]", "command of text": HEAD + "  seed: {value: 1}\ncommand: id",
    "flag in command": HEAD + "  seed: {value: 1}\ncommand: [khasr.train, --config-dir=/]", "hydra in command": HEAD + "  seed: {value: 1}\ncommand: [khasr.train, hydra.callbacks.a=1]",
    "1e9 runs": HEAD + "".join(f"  a{i}: {{values: [{','.join(map(str, range(100)))}]}}\n" for i in range(5)), "distribution": "method: random\nparameters: {seed: {distribution: x}}",
    "min over max": "method: random\nparameters: {optimizer.lr: {min: 2, max: 1}}", "infinite bound": "method: bayes\nparameters: {optimizer.lr: {min: 0.1, max: .inf}}",
    "run_cap": "method: random\nrun_cap: -1\nparameters: {seed: {values: [1, 2]}}", "run_cap of text": "method: random\nrun_cap: x\nparameters: {seed: {values: [1]}}",
    "metric": "method: bayes\nmetric: 1\nparameters: {seed: {values: [1]}}", "program": "program: ../evil.py\n" + HEAD + "  seed: {value: 1}",
}  # fmt: skip
SENTENCES = {
    "empty": b"", "spaces": b"  \n \n", "one word": "ក\n".encode(), "zeros": bytes(500), "not UTF-8": b"\xff\n", "UTF-16": "ក ខ\n".encode("utf-16"),
    "one line of 2 MB": "ក ".encode() * 500_000, "a word of 300 kB": "ក".encode() * 100_000, "CR": "ក ខ\rគ ក\r".encode(), "U+2028": "ក ខ\u2028គ\n".encode() * 9,
    "tags": b"<s> a </s>\n<unk> b\n" * 9, "escape codes": b"\x1b[2J a\n" * 9, "tabs": b"a\tb\n" * 9, "numbers": b"99999999999999999999999999 1e400\n" * 9,
    "surrogates": b"\xed\xa0\x80 a\n", "no line end": "ក ខ គ".encode(),
}  # fmt: skip


def command_lines(_seed: int) -> Iterator[Case]:
    """Options and arguments that are wrong, absurd, or an attempt to run code."""
    for override in OVERRIDES:
        yield Case("command line", f"train {override[:60]}", [*TRAIN, override], lambda f: None)
    for words in COMMANDS:
        own = (
            []
            if words[0] in ("transcribe", "export", "report", "sweep", "tune") or any("hydra" in w for w in words)
            else ["hydra.run.dir=FOLDER/out"]
        )
        yield Case("command line", " ".join(words)[:80], [*words, *own], lambda f: None)


def sweep_files(_seed: int) -> Iterator[Case]:
    """Sweep files for khasr.sweep."""
    for name, text in SWEEPS.items():

        def make(folder: Path, text: str = text) -> None:
            (folder / "s.yaml").write_text(text, encoding="utf-8")

        yield Case("sweep file", name, ["sweep", "FOLDER/s.yaml", "--dry-run"], make)


def language_models(_seed: int) -> Iterator[Case]:
    """Texts and options of build_lm."""
    for name, data in SENTENCES.items():

        def make(folder: Path, data: bytes = data) -> None:
            (folder / "t.txt").write_bytes(data)

        yield Case(
            "build_lm", f"text: {name}", ["build_lm", "FOLDER/t.txt", "--out", "FOLDER/lm", "--order", "2"], make
        )
    many = "ក ខ គ\nខ គ ក ង\nច ក\n" * 20
    for options in (["--order", "1"], ["--order", "0"], ["--order", "7"], ["--order", "99999999999"], ["--prune", "-1"], ["--prune", "9", "9"],
                    ["--prune", "1", "0"], ["--memory", "x"], ["--memory", "0"], ["--out", "/dev/null"], ["--out", "/proc/x"], ["--run", "absent"],
                    ["--val", "absent"], ["--transcripts", "append"]):  # fmt: skip
        words = ["build_lm", "FOLDER/t.txt", *([] if "--out" in options else ["--out", "FOLDER/lm"]), *options]
        yield Case("build_lm", " ".join(options), words, lambda f: (f / "t.txt").write_text(many, encoding="utf-8"))
