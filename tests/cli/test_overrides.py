"""Which overrides a command line and a sweep file may have."""

import pytest

from khasr.cli.multirun.wandb_file import read_sweep
from khasr.cli.overrides import check_arguments, check_file_override

ACCEPTED = [
    "model=tiny,xlsr_1b", "logger=[csv,wandb]", "logger=[]", "experiment=null", "experiment=glob(h*)",
    "model=choice(tiny)", "seed=range(1,4)", "optimizer.lr=tag(log,interval(1e-5,1e-3))", "data.root='/a (b)/c'",
    "data.corpora=[{data:openslr_km,root:A}]", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
    "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=1", "hydra.run.dir=runs/a",
    "hydra.launcher.setup=['module load cuda']", "hydra.job.name=train_ddp_process_1", "+optimizer.foo=1",
]  # fmt: skip
REFUSED = [
    "+hydra.callbacks.evil._target_=pandas.read_pickle", "++hydra.callbacks={a:{_target_:x}}", "hydra={callbacks:{}}",
    "hydra.launcher._target_=x", "hydra.sweeper.sampler={_target_:os.system}", "hydra.launcher=choice({_target_:x})",
    "hydra.sweeper={sampler:{_target_:x}}", "hydra.launcher.a=[{_target_:x}]", "hydra/callbacks=x", "~hydra.launcher",
    "hydra/launcher=/tmp/evil", "hydra/job_logging=x", "hydra.job_logging.x=1", "hydra.hydra_logging.x=1",
    "hydra.searchpath=[file:///tmp]", "hydra.job.env_set.PATH=/tmp", "hydra.mode=MULTIRUN", "data=../../../tmp/evil",
    "data=tiny,/tmp/evil", "logger=[../evil]", "+data@hydra.callbacks.x=folder",
    "+schema/data=x", "model=${oc.env:HOME}", "optimizer._target_=x", "+data.text._args_=[1]",
]  # fmt: skip


@pytest.mark.parametrize("word", ACCEPTED)
def test_accepted(word: str) -> None:
    check_arguments([word])


@pytest.mark.parametrize("word", REFUSED)
def test_refused(word: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Hydra's grammar refuses some
        check_arguments(["-m", word])
    assert type(caught.value).__name__ in ("ValueError", "OverrideParseException")
    assert "\n" not in str(caught.value) or type(caught.value).__name__ != "ValueError"


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["-m"], ["--hydra-help"], ["--info", "config"]])
def test_flag(flags: list[str]) -> None:
    check_arguments([*flags, "seed=1"])


@pytest.mark.parametrize(
    "flags",
    [["--config-dir=/tmp"], ["--config-d", "/tmp"], ["-cd", "/tmp"], ["-cn", "x"], ["--experimental-rerun", "x"]],
)
def test_refused_flag(flags: list[str]) -> None:
    with pytest.raises(ValueError, match=r"is not a flag of this command\. Accepted: -m, "):
        check_arguments(flags)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.name=${oc.env:HF_TOKEN}", "interpolation"),
        ("hydra.launcher.setup=[reboot]", "hydra.launcher.setup is not accepted from a sweep file"),
        ("hydra.launcher.python=/tmp/x", "command line of khasr.sweep"),
        ("hydra.sweeper.storage='sqlite:///x'", "not accepted from a sweep file"),
        ("hydra.callbacks.x=1", "Accepted: hydra/launcher"),
    ],
)
def test_refused_in_file(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_file_override(word, "a.yaml")


FILES = {
    "{method: grid, parameters: {data.batch_seconds: {values: [null, 20]}, score_test: {values: [true]}}}": [
        "data.batch_seconds=null,20",
        "score_test=true",
    ],
    "{method: grid, parameters: {optimizer.betas: {values: [[0.9, null], [0.8, 1]]}}}": [
        "optimizer.betas=[0.9,null],[0.8,1]"
    ],
    "{method: grid, parameters: {seed: {value: 1}}, command: [python, -m, khasr.train, '${args}', data=folder]}": [
        "data=folder",
        "seed=1",
    ],
    "{method: grid, program: a.py, parameters: {seed: {value: 1}}, command: ['${env}', WANDB_MODE=offline, '${program}', b.c=1]}": [
        "b.c=1",
        "seed=1",
    ],
}


@pytest.mark.parametrize("text", FILES)
def test_sweep_file(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """null stays null, and the options in `command` are kept."""
    file = tmp_path_factory.mktemp("sweep") / "a.yaml"
    file.write_text(text)
    assert read_sweep(file, []) == ["-m", *FILES[text], "hydra.sweep.dir=runs/a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping is expected"),
        ("[1]", "a mapping is expected"),
        ("a: [", "while parsing"),
        ("a: &a [1]\nb: [*a]", "aliases"),
        ("{method: grid, parameters: 1}", "no method and parameters"),
        ("{method: grid, parameters: {seed: 1}}", "no method and parameters"),
        ("{method: grid, parameters: {seed: {values: 1}}}", "no method and parameters"),
        ("{method: grid, parameters: {+hydra.callbacks.e._target_: {value: pandas.read_pickle}}}", "not a setting"),
        ("{method: grid, parameters: {seed: {value: 1}}, command: [python, evil.py]}", "runs khasr.train"),
        (
            "{method: grid, parameters: {seed: {value: 1}}, command: [khasr.train, seed=2]}",
            "also one of the parameters",
        ),
        ("{method: grid, parameters: {seed: {value: 1}}, command: [khasr.train, --config-dir=/tmp]}", "not an option"),
        ("{method: grid, parameters: {seed: {value: 1}}, command: khasr.train}", "list of words"),
    ],
)
def test_damaged_sweep_file(text: str, message: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("sweep") / "a.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_sweep(file, [])
