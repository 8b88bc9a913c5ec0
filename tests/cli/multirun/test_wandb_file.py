"""The files under sweeps/: each composes, gives each size as many trials, and runs by wandb's own agent."""

import gzip
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from khasr.cli.multirun.wandb_file import read_sweep
from khasr.cli.wandb_agent import read_agent_arguments, to_grammar
from khasr.config import check_ranges
from khasr.study.wandb_files import read_offline
from tests.commands import Commands
from tests.conftest import SMALL, write_corpus

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "sweeps").glob("*.yaml"))


def settings(file: Path) -> dict[str, list[Any]]:
    """Each parameter's values; of an interval, its ends."""
    parameters = yaml.safe_load(file.read_text(encoding="utf-8"))["parameters"]
    return {
        name: options.get("values") or [options[key] for key in ("value", "min", "max") if key in options]
        for name, options in parameters.items()
    }


def test_files() -> None:
    names = [file.stem for file in FILES]
    assert [name[:2] for name in names if name.startswith("h")] == [f"h{i}" for i in range(1, 8)]
    assert "why_1b" in names


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_options_exist(compose: Any, file: Path) -> None:
    """Every value composes and is in range, written as wandb's agent writes it."""
    values = settings(file)
    for number in range(max(map(len, values.values()))):
        check_ranges(compose(*(f"{name}={tried[number % len(tried)]}" for name, tried in values.items())))
    for name, value in ((name, value) for name, tried in values.items() for value in tried):
        assert value is not None, f'{name}: a bare null arrives as the string None; write "null"'
        assert not isinstance(value, str) or not re.fullmatch(r"\d+e-?\d+", value), "1e-5 is text in YAML; 1.0e-5"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_header(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    header = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
    assert "?" in header or "question" in header
    assert file.stem == "why_300m" or re.search(r"(19|20)\d\d|fairseq|speechbrain|app\. B", header)
    assert f"#   wandb sweep sweeps/{file.name}" in header
    (command,) = re.findall(r"#   python -m khasr\.sweep (.*?)\s{2,}", header)
    name, *overrides = shlex.split(command)
    assert ROOT / name == file
    assert read_sweep(file, overrides)[0] == "-m"
    sweep = yaml.safe_load(text)
    assert sweep["command"] == ["${env}", "${interpreter}", "-m", "khasr.train", "${args_no_hyphens}"]
    assert (ROOT / sweep["program"]).is_file()
    assert sweep["metric"] == {"name": "val/wer", "goal": "minimize"}


def test_equal_trials() -> None:
    caps: Counter[str] = Counter()
    for file in FILES:
        sweep = yaml.safe_load(file.read_text(encoding="utf-8"))
        sizes = settings(file)["model"]
        if sweep["method"] == "grid":
            assert sizes == ["xlsr_300m", "xlsr_1b"]
        else:
            assert len(sizes) == 1
            caps[sizes[0]] += sweep["run_cap"]
    assert len(caps) == 2
    assert len(set(caps.values())) == 1
    one, other = (yaml.safe_load((ROOT / "sweeps" / f"why_{size}.yaml").read_text()) for size in ("1b", "300m"))
    assert one["parameters"].pop("model") != other["parameters"].pop("model")
    assert one == other


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_values(file: Path) -> None:
    values = settings(file)
    words = read_sweep(file, ["data.root=x"])
    parsed = {o.key_or_group: o for o in OverridesParser.create().parse_overrides(words[1:])}
    assert "logger" not in parsed
    for name, tried in values.items():
        if name == "logger":
            continue
        override = parsed[name]
        if override.is_interval_sweep():
            interval = override.value()
            assert [interval.start, interval.end] == tried
            assert ("log" in interval.tags) == (name == "optimizer.lr")
        elif override.is_sweep_override():
            found = list(override.sweep_string_iterator())
            assert [yaml.safe_load(v) for v in found] == [yaml.safe_load(str(v)) for v in tried]
        else:
            assert str(override.value()) == str(tried[0])
    assert parsed["hydra.sweep.dir"].value() == f"runs/{file.stem}"


def test_unsupported(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for text, expected in {
        "a: 1": "no method and parameters",
        "{method: random, parameters: {seed: {values: [1]}}}": "one model",
        "{method: bayes, parameters: {model: {values: [tiny, xlsr_1b]}}}": "one model",
        "{method: bayes, parameters: {model: {value: tiny}}}": "--trials",
        "{method: grid, parameters: {seed: {min: 1, max: 2.5}}}": "seed is {'min': 1",
        "{method: grid, parameters: {optimizer: {values: [{lr: 1.0}]}}}": "the values of optimizer are mappings",
        "{method: grid, parameters: {seed: {value: 1}}, command: [OMP_NUM_THREADS=1, khasr.train]}": "OMP_NUM_THREADS=1 in",
        "{method: random, run_cap: 3, parameters: {model: {value: tiny}, seed: {distribution: q_normal}}}": "q_normal",
    }.items():
        file.write_text(text)
        with pytest.raises(ValueError, match=re.escape(expected)):
            read_sweep(file, [])
    file.write_text("{method: grid, parameters: {seed: {values: [1]}}}")
    with pytest.raises(ValueError, match="--trials=3 is for a search"):
        read_sweep(file, [], trials=3)
    with pytest.raises(FileNotFoundError, match="absent"):
        read_sweep(tmp_path / "absent.yaml", [])
    file.write_text("{method: random, parameters: {model: {values: [tiny, xlsr_1b]}, seed: {min: 1, max: 9}}}")
    words = read_sweep(file, ["model=tiny", "hydra.sweep.dir=x"], trials=3)
    assert words == [
        "-m", "seed=interval(1,9)", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra/sweeper/sampler=random",
        "model=tiny", "hydra.sweep.dir=x",
    ]  # fmt: skip


def agent_words(file: Path, parameters: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of khasr.train in a trial of wandb's agent, as the agent makes them."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
    from wandb.sdk.lib.config_util import save_config_file_from_dict

    sweep = yaml.safe_load(file.read_text(encoding="utf-8"))
    args = {name: {"value": value} for name, value in parameters.items()}
    saved = folder / "parameters.yaml"
    save_config_file_from_dict(str(saved), args)
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(saved))
    macros = create_sweep_command_args({"args": args}) | {"program": ["khasr/train.py"]}
    words: list[str] = []
    for word in create_sweep_command(sweep.get("command")):
        macro = re.fullmatch(r"\$\{(\w+)\}", str(word))
        words += macros.get(macro[1], []) if macro else [str(word)]
    start = next(i for i, word in enumerate(words) if word in ("khasr.train", "khasr/train.py"))
    return read_agent_arguments(words[start + 1 :])


def parsed(words: Sequence[str]) -> dict[str, str]:
    """The value of each option, of the overrides that identify a run."""
    overrides = OverridesParser.create().parse_overrides(list(words))
    return {o.key_or_group: repr(o.value()) for o in overrides if o.key_or_group not in ("logger", "hydra.sweep.dir")}


def trials(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """What wandb's server sends for each run of a grid; of an interval, it has only the ends."""
    choices = []
    for name, options in parameters.items():
        if "parameters" in options:
            tried = trials(options["parameters"])
        elif "value" in options:
            tried = [options["value"]]
        else:
            tried = options.get("values") or [options["min"], options["max"]]
        choices.append([(name, value) for value in tried])
    return [dict(chosen) for chosen in itertools.product(*choices)]


OWN = {
    "nulls and booleans": "parameters: {data.batch_seconds: {values: [null, 20]}, trainer.deterministic: {values: [true, false]}}",
    "lists": "parameters: {optimizer.betas: {values: [[0.9, 0.98], [0.8, 0.9]]}, data.audio: {values: [[a, null], []]}}",
    "nested": """
parameters:
  optimizer: {parameters: {lr: {values: [1.0e-4, 1.0e-3]}, betas: {value: [0.9, 0.98]}, head_lr: {value: null}}}
  model: {value: {architecture: {layers: 2, conv_dim: [8, 8, 8]}, layerdrop: 0.1}}
  seed: {min: 1, max: 2}""",
    "options in command": """
command: [python, -m, khasr.train, "${args_no_hyphens}", experiment=quickstart, "data.root='a, b'", trainer.max_steps=2]
parameters: {optimizer.lr: {values: [1e-4, 1e-3]}, seed: {value: 1}}""",
    "commas and quotes": """
parameters:
  data.root: {values: ["a,b", "it's", '"c" (d)', 'e\\', " f ", "", "'g,h'", "range(1,3)", "k=v", ខ្មែរ]}
  optimizer.head_lr: {values: ["null", 1.0e-3]}""",
    "flags": "{command: [python, khasr/train.py, '${args}'], parameters: {seed: {values: [1, 2]}, score_test: {value: false}}}",
    "flags apart": "{command: [python, khasr/train.py, '${args_no_equals}'], parameters: {seed: {values: [1, null]}}}",
    "flags of booleans": "{command: [khasr.train, '${args_no_boolean_flags}'], parameters: {score_test: {values: [true, false]}}}",
    "appended": "{command: [khasr.train, '${args_append_hydra}'], parameters: {seed: {values: [1, null]}}}",
}


@pytest.mark.parametrize("name", [*(file.stem for file in FILES), *OWN])
def test_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """khasr.sweep and wandb's agent make the same runs from the same file."""
    file = ROOT / "sweeps" / f"{name}.yaml"
    if name in OWN:
        file = tmp_path / "own.yaml"
        file.write_text(f"method: grid\n{OWN[name]}" if OWN[name][0] != "{" else f"{{method: grid, {OWN[name][1:]}")
    sweep = yaml.safe_load(file.read_text(encoding="utf-8"))
    words = read_sweep(file, [])
    if sweep["method"] == "grid":
        (combinations,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words[1:]), None)
        here = [parsed(combination) for combination in combinations]
        there = [parsed(agent_words(file, trial, tmp_path, monkeypatch)) for trial in trials(sweep["parameters"])]
        assert len(here) == len(there)
        assert sorted(map(repr, map(sorted, map(dict.items, here)))) == sorted(
            map(repr, map(sorted, map(dict.items, there)))
        )
        return
    # Of a search: the same choices and ends.
    space: dict[str, set[str]] = {}
    for override in OverridesParser.create().parse_overrides(words[1:]):
        if override.is_interval_sweep():
            values = [override.value().start, override.value().end]
        else:
            values = override.value().list if override.is_choice_sweep() else [override.value()]
        space[override.key_or_group] = set(map(repr, values))
    there_space: dict[str, set[str]] = {}
    longest = max(len(trials({name: options})) for name, options in sweep["parameters"].items())
    for number in range(longest):
        of_each = {k: trials({k: options}) for k, options in sweep["parameters"].items()}
        trial = {k: tried[number % len(tried)][k] for k, tried in of_each.items()}
        for option, value in parsed(agent_words(file, trial, tmp_path, monkeypatch)).items():
            there_space.setdefault(option, set()).add(value)
    assert {k: v for k, v in space.items() if not k.startswith(("hydra", "sweep."))} == there_space


def test_texts() -> None:
    """A text that is not one value in Hydra's grammar is itself; any other means what it does on the command line."""
    for text in ("a,b", "it's", '"c" (d)', "e\\", "a\\b,c", " f ", "range(1,3)", "k=v", "ខ្មែរ", "'", "{", "x\ny"):
        (override,) = OverridesParser.create().parse_overrides([f"x={to_grammar(text)}"])
        assert override.value() == text
    for text, value in {"null": None, "'a, b'": "a, b", "1e-4": 1e-4, "[1, a]": [1, "a"], "true": True}.items():
        (override,) = OverridesParser.create().parse_overrides([f"x={to_grammar(text)}"])
        assert override.value() == value


def test_without_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an agent's file the arguments stay as they are."""
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "absent")
    assert read_agent_arguments(["seed=None", "--seed=1"]) == ["seed=None", "--seed=1"]


def test_intervals(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for options, expected in {
        "distribution: uniform, min: 0, max: 1": "interval(0.0,1.0)",
        "distribution: log_uniform_values, min: 1, max: 9": "tag(log,interval(1.0,9.0))",
        "distribution: int_uniform, min: 0, max: 1": "interval(0,1)",
        "min: 0, max: 1": "interval(0,1)",
        "min: 0, max: 0.5": "interval(0.0,0.5)",
    }.items():
        file.write_text(f"{{method: random, run_cap: 1, parameters: {{model: {{value: tiny}}, x: {{{options}}}}}}}")
        assert f"x={expected}" in read_sweep(file, [])


def test_command(light_command: Commands) -> None:
    def door(*words: str) -> subprocess.CompletedProcess[str]:
        return light_command("khasr.sweep", *words, cwd=ROOT)

    done = door("--dry-run", "sweeps/h6_precision.yaml", "seed=1,2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "python -m khasr.train -m experiment=h6_precision precision=bf16,fp32 trainer.max_steps=5475 "
        "model=xlsr_300m,xlsr_1b hydra.sweep.dir=runs/h6_precision seed=1,2\n"
    )
    done = door("sweeps/why_1b.yaml", "--trials", "40", "data.root=x", "--dry-run")
    assert "hydra.sweeper.n_trials=40 sweep.pruner=asha" in done.stdout, done.stderr
    assert done.stdout.endswith(" hydra.sweep.dir=runs/why_1b data.root=x\n")
    done = door("sweeps/absent.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


# --------------------------------------------------------------------------------------------------------- wandb's agent


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server that speaks what wandb's agent asks: `sweep` is its file, `trials` the options of each to come."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path != "/graphql":
                server.log.append(f"{self.path} {dict(self.headers)} {body[:200]!r}")
                self.send_error(404)
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            asked = json.loads(body)
            name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"]).group(1)  # type: ignore[union-attr]
            answer = self.answer(name, asked.get("variables") or {})
            server.log.append(f"{name}({json.dumps(asked.get('variables'))[:120]}) -> {json.dumps(answer)[:200]}")
            body = json.dumps({"data": answer}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def answer(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
            if name == "SweepWithRuns":
                config = yaml.safe_dump(server.sweep)
                return {"project": {"sweep": {"id": "1", "name": "s", "config": config, "runs": {"edges": []}}}}
            if name == "CreateAgent":
                return {"createAgent": {"agent": {"id": "agent"}}}
            if name == "Heartbeat":
                commands = []
                if server.trials and variables["runState"] == "{}":  # nothing runs
                    number, options = server.trials.pop(0)
                    args = {key: {"value": value} for key, value in options.items()}
                    commands = [{"type": "run", "run_id": f"trial{number}", "program": "khasr/train.py", "args": args}]
                return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}
            return {"viewer": {"id": "me", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        sweep: dict[str, Any]
        trials: list[tuple[int, dict[str, Any]]]
        log: list[str]

    server = Server(("127.0.0.1", 0), Handler)
    server.log, server.trials = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_wandb_agent(server: Any, command: Commands, tmp_path: Path) -> None:
    """wandb's agent starts the trials of a sweep file; they are forks."""
    corpus = write_corpus(tmp_path / "my (own) corpus", count=20)
    small = dict(word.split("=", 1) for word in SMALL) | {"trainer.max_steps": 2, "trainer.val_every_steps": 1}
    tried = [
        {"optimizer.betas": [0.9, 0.95], "optimizer.head_lr": "null", "schedule": "tri_stage", "seed": 1},
        {"optimizer.betas": [0.8, 0.9], "optimizer.head_lr": 1.0e-3, "schedule": "linear", "seed": 2},
    ]
    for number, options in enumerate(tried):
        server.trials.append((number, small | {"data.root": f"'{corpus}'", "logger": "wandb"} | options))
    server.sweep = yaml.safe_load((ROOT / "sweeps" / "why_1b.yaml").read_text(encoding="utf-8"))
    server.sweep["command"].insert(1, "WANDB_MODE=offline")  # of the trials: the agent itself asks the server
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | {
        "WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}", "WANDB_API_KEY": "0" * 40, "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(command.python).parent}:{os.environ['PATH']}", "HOME": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "agent", "--count", "2", "me/khasr/s"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    log = "\n".join([*server.log, done.stdout, done.stderr])
    (tmp_path / "agent.log").write_text(log, encoding="utf-8")
    assert done.returncode == 0, log
    for number, options in enumerate(tried):
        folder = tmp_path / "runs" / "wandb_s" / f"trial{number}"
        assert json.loads((folder / "results.json").read_text())["status"] == "completed", log
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        assert config["data"]["root"] == str(corpus)
        assert config["optimizer"]["betas"] == options["optimizer.betas"]
        assert config["optimizer"]["head_lr"] == (None if options["optimizer.head_lr"] == "null" else 1e-3)
        assert (config["schedule"]["name"], config["seed"]) == (options["schedule"], options["seed"])
        assert config["model"]["architecture"]["conv_dim"] == [16, 16, 16]
        # It is the agent's run, not a separate one.
        run = read_offline(list((folder / "wandb").glob("offline-run-*")))
        assert (folder / "wandb" / "id").read_text() == f"trial{number}"
        assert run.status == "completed"
        assert run.options["optimizer.lr"] == pytest.approx(2e-3)
        assert {"val/wer", "train/loss"} <= set().union(*run.rows)
