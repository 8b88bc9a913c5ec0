"""The check of a machine's GPUs, in its reduced form."""

from pathlib import Path

import pytest
import torch
from rich.console import Console

from experiments.gpu_check.cases import all_cases
from experiments.gpu_check.check import check, in_a_process
from experiments.gpu_check.machine import Machine
from experiments.gpu_check.performance import kind_of, largest
from experiments.gpu_check.table import result_table
from tests.commands import Commands

ROOT = Path(__file__).resolve().parents[2]
# Each of these trains two or three times.
LONG = (
    "resumed equals uninterrupted", "deterministic: twice the same", "beside transformers' Trainer",
    "SIGTERM saves, and the run resumes",
)  # fmt: skip


def test_reduced(command: Commands, tmp_path: Path) -> None:
    """Every case that a CPU can compute is good; the long ones are left out here."""

    def train(words: list[str], folder: Path) -> tuple[int, str]:
        done = command("khasr.train", *words, f"hydra.run.dir='{folder}'", cwd=ROOT)
        return done.returncode, done.stderr

    machine = Machine(0, tmp_path, train)
    cases = {name: case for name, case in all_cases(machine).items() if name not in LONG}
    found = {name: {**vars(result), "seconds": 0.0} for name, result, _ in check(machine, cases, lambda name: None)}
    assert {name: case["text"] for name, case in found.items() if not case["passed"]} == {}
    assert len(found) == 5
    with (console := Console(width=200)).capture() as printed:
        console.print(result_table({"environment": {"machine": "a CPU"}, "cases": found}))
    assert printed.get().count("good") == 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu(tmp_path: Path) -> None:
    """`make gpu-check`, about 20 minutes: `pytest -m gpu`."""
    machine = Machine(torch.cuda.device_count(), tmp_path, in_a_process)
    found = {name: result for name, result, _ in check(machine, all_cases(machine), lambda name: None)}
    assert {name: result.text for name, result in found.items() if result.passed is False} == {}


@pytest.mark.parametrize(("most", "limit", "expected"), [(9, 100, 9), (0, 100, 0), (64, 100, 64), (500, 100, 100)])
def test_largest_batch(most: int, limit: int, expected: int) -> None:
    """The search for the largest batch tries few that do not fit."""
    tried: list[int] = []

    def fits(utterances: int) -> bool:
        tried.append(utterances)
        return utterances <= most

    assert largest(fits, limit) == expected
    assert sum(utterances > most for utterances in tried) <= 6


def test_kinds_of_operations() -> None:
    names = ("aten::addmm", "sm90_xmma_gemm_bf16", "aten::native_layer_norm", "vectorized_elementwise_kernel", "new")
    assert [kind_of(name) for name in names] == ["products", "products", "norms", "elementwise", "other"]


def test_case_that_raises(tmp_path: Path) -> None:
    """It is reported, and the next case runs."""

    def raises(machine: Machine) -> None:
        raise RuntimeError("CUDA error:\nout of memory")

    machine = Machine(0, tmp_path, lambda words, folder: (0, ""))
    found = list(check(machine, {"a": raises, "b": raises}, lambda name: None))  # type: ignore[dict-item]
    assert [(name, result.passed, result.text) for name, result, _ in found] == [
        (name, False, "RuntimeError: CUDA error: out of memory") for name in "ab"
    ]
