"""Saved options are plain values, and options out of range are refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from khasr.config import Config, check_ranges, from_plain, read_plain_yaml, to_config, to_plain
from khasr.run.results import new_results

LITERAL = [
    "${oc.env:HF_TOKEN}", "\\${oc.env:HF_TOKEN}", "\\\\${x}", "\\\\\\${x}", "a\\", "${", "$${x}", "{x}", "${a:${b}}",
    "${a:'}'}", "'${x}'", "\\${${x}", "???x", "${seed}",
]  # fmt: skip


@pytest.mark.parametrize("text", LITERAL)
def test_interpolation_stays_text(compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """`${...}` in saved options is text, however often they are read; no secret reaches results.json."""
    monkeypatch.setenv("HF_TOKEN", "SECRET")
    config = compose("model=tiny")
    config.model.name = text
    config.logger.wandb = None
    for _ in range(3):
        config = to_config(from_plain(yaml.safe_load(yaml.safe_dump(to_plain(config)))))
    assert config.model.name == text
    assert "SECRET" not in json.dumps(new_results(config))


def test_interpolation_in_a_number(compose: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LR", "1e-3")
    plain = to_plain(compose("model=tiny"))
    plain["optimizer"]["lr"] = "${oc.env:LR}"
    with pytest.raises(Exception, match="could not be converted to Float"):
        OmegaConf.to_object(from_plain(plain))


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.lr=inf", "optimizer.lr=nan", "optimizer.weight_decay=inf", "decoder.beta=nan", "seed=-1",
        "seed=4294967296", "model.architecture.layers=1000000", "model.architecture.conv_dim=[1000000,1,1]",
        "trainer.max_epochs=inf", "data.max_seconds=inf", "optimizer.average_checkpoints=1000000",
        "data.num_workers=100000", "sweep.max_hours=inf", "optimizer.ema_decay=1", "optimizer.betas=[0.9,1]",
        "data.augment.speed=[inf]", "data.augment.noise_snr_db=[nan,nan]",
    ],
)  # fmt: skip
def test_out_of_range(compose: Callable[..., Config], override: str) -> None:
    with pytest.raises(ValueError, match=f"^{override.split('=')[0]}=.*: expected "):
        check_ranges(compose("model=tiny", override))


def test_too_many_weights(compose: Callable[..., Config]) -> None:
    """Each size is allowed, but not all at once."""
    with pytest.raises(ValueError, match="fewer than 1e\\+12 weights"):
        check_ranges(compose("model.architecture.layers=1000", "model.architecture.hidden_size=65536"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping is expected, not NoneType"),
        ("- 1", "not list"),
        ("a: [", "while parsing"),
        ("a: b: c", "mapping values"),
        ("a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]", "aliases"),
        ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("a: " + "[" * 5000, "."),
        ("a: " + "x" * 1_000_001, "1,000,004 bytes"),
    ],
)
def test_damaged_yaml(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_plain_yaml(file)
