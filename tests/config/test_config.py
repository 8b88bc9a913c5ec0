import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf.errors import OmegaConfBaseException

from khasr.cli.help import describe_options
from khasr.config import (
    CONF_DIR,
    Config,
    FolderConfig,
    TriStageConfig,
    check_ranges,
    compose_root,
    from_plain,
    roots,
    to_config,
    to_options,
    to_plain,
)
from khasr.run.published import is_published_recipe

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {g.name: sorted(c.stem for c in g.glob("*.yaml")) for g in sorted(CONF_DIR.iterdir()) if g.is_dir()}
CHOICES = [f"{group}={choice}" for group, choices in GROUPS.items() for choice in choices]

Compose = Callable[..., Config]


@pytest.mark.parametrize("choice", CHOICES)
def test_choice(compose: Compose, choice: str) -> None:
    config = compose(choice)
    group, name = choice.split("=")
    if hasattr(getattr(config, group, None), "name"):
        assert getattr(config, group).name == name


# One choice of every group at once: a row of choices for each compose, not each choice for itself.
ROWS = range(max(len(choices) for group, choices in GROUPS.items() if group != "experiment"))


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("experiment", GROUPS["experiment"])
def test_preset(compose: Compose, experiment: str, row: int) -> None:
    chosen = {group: choices[row % len(choices)] for group, choices in GROUPS.items() if group != "experiment"}
    config = compose(f"experiment={experiment}", *(f"{group}={name}" for group, name in chosen.items()))
    for group, name in chosen.items():
        assert getattr(getattr(config, group), "name", name) == name


def test_no_overrides(compose: Compose) -> None:
    config = compose()
    assert (config.model.name, config.model.checkpoint) == ("xlsr_1b", "facebook/wav2vec2-xls-r-1b")
    assert (config.data.name, config.data.batch_size, config.trainer.accumulate_grad_batches) == ("openslr_km", 8, 4)
    assert (config.optimizer.lr, config.optimizer.betas, config.optimizer.eps) == (1e-5, [0.9, 0.999], 1e-8)
    assert (config.schedule.name, config.schedule.warmup, config.trainer.max_epochs) == ("linear", 2000, 75)
    assert (config.precision.name, config.seed, config.trainer.val_every_steps) == ("fp16", 42, 400)
    assert config.finetune.freeze_feature_encoder
    assert not config.score_test


def test_card_1b(compose: Compose) -> None:
    assert compose("experiment=card_1b") == compose()
    config = compose("experiment=card_1b")
    assert config.trainer.gradient_clip_norm == 1.0
    masks = ("mask_time_prob", "mask_time_length", "mask_feature_prob", "mask_feature_length")
    dropouts = (
        "attention_dropout",
        "hidden_dropout",
        "activation_dropout",
        "feat_proj_dropout",
        "final_dropout",
        "layerdrop",
    )

    def of(names: tuple[str, ...], *overrides: str) -> list[float]:
        return [getattr(compose(*overrides).model, name) for name in names]

    assert of(masks, "experiment=card_1b") == [0.75, 10, 0.25, 64]
    assert of(dropouts, "experiment=card_1b") == [0, 0, 0.1, 0, 0, 0]
    assert of(masks[::2], "experiment=card_1b_plain_script") == [0.05, 0]
    assert of(dropouts, "experiment=card_1b_plain_script") == [0] * 6


def test_published_presets(compose: Compose) -> None:
    config = compose("experiment=card_300m")
    assert (config.model.name, config.optimizer.lr, config.schedule.name) == ("xlsr_300m", 5e-5, "linear")
    assert (config.schedule.warmup, config.trainer.max_epochs, config.trainer.max_steps) == (1000, 50, None)
    for size in ("xlsr_300m", "xlsr_1b"):
        config = compose("experiment=xlsr_paper", f"model={size}")
        assert isinstance(config.schedule, TriStageConfig)
        assert (config.schedule.warmup, config.schedule.hold) == (0.1, 0.4)
        assert 2e-5 <= config.optimizer.lr <= 3e-4
        assert config.trainer.max_steps is not None
        assert 13_000 <= config.trainer.max_steps <= 26_000
        assert config.finetune.freeze_encoder_steps == 10_000
        assert (config.model.name, config.model.mask_time_prob, config.model.layerdrop) == (size, 0.75, 0.1)
        # 4.9 s is the mean of OpenSLR 42's utterances.
        assert 4.9 * config.data.batch_size * config.trainer.accumulate_grad_batches == pytest.approx(1600, rel=0.05)


def preset_commands() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted((CONF_DIR / "experiment").glob("*.yaml"))]
    return [found for text in texts for found in re.findall(r"^#   python -m khasr\.train (.*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("command", preset_commands())
def test_preset_command(compose: Compose, command: str) -> None:
    """Every value of the preset's command composes and is in range."""
    words = [word.split("=") for word in shlex.split(command.removeprefix("-m "))]
    tried = {name: values.split(",") for name, values in words}
    for number in range(max(map(len, tried.values()))):
        check_ranges(compose(*(f"{name}={values[number % len(values)]}" for name, values in tried.items())))


@pytest.mark.parametrize("preset", [p for p in GROUPS["experiment"] if p.startswith("h")])
def test_hypothesis(compose: Compose, preset: str) -> None:
    about = {"h1": {"optimizer", "schedule"}, "h2": {"trainer"}, "h3": {"model"}, "h4": {"finetune"}, "h6": {"precision"},
             "h5": {"optimizer", "schedule", "finetune"}, "h7": {"trainer"}, "h9": {"data"}}  # fmt: skip
    card, ours = to_plain(compose("experiment=card_1b")), to_plain(compose(f"experiment={preset}"))
    changed = {section for section in card if card[section] != ours[section]}
    assert changed
    assert changed <= about[preset[:2]]
    assert any(f"experiment={preset} " in command for command in preset_commands())


def test_is_published_recipe(compose: Compose) -> None:
    same = (
        ["experiment=card_1b"], ["experiment=card_1b_plain_script"], ["seed=1", "precision=bf16"],
        ["trainer.devices=4", "trainer.accumulate_grad_batches=1"], ["data.batch_size=4", "trainer.accumulate_grad_batches=8"],
    )  # fmt: skip
    other = (
        ["experiment=card_300m"], ["optimizer.lr=3e-5"], ["model.init=random"], ["trainer.max_steps=2"],
        ["experiment=quickstart"], ["data.batch_size=1"], ["finetune.reinit_layers=2"],
    )  # fmt: skip
    assert all(is_published_recipe(compose(*overrides)) for overrides in same)
    assert not any(is_published_recipe(compose(*overrides)) for overrides in other)


def test_model_choice(compose: Compose) -> None:
    one, other = to_plain(compose()), to_plain(compose("model=xlsr_300m"))
    assert one.pop("model") != other.pop("model")
    assert one == other


def test_command_line_precedence(compose: Compose) -> None:
    config = compose("experiment=quickstart", "data=folder", "model=xlsr_300m", "optimizer.lr=3e-4")
    assert isinstance(config.data, FolderConfig)
    assert (config.model.name, config.optimizer.lr, config.data.batch_size) == ("xlsr_300m", 3e-4, 4)


def test_several_choices(compose: Compose) -> None:
    config = compose("model=xlsr_1b", "optimizer.lr=3e-5", "schedule=tri_stage", "precision=bf16", "decoder=greedy")
    assert isinstance(config.schedule, TriStageConfig)
    assert config.precision.name == "bf16"


def test_several_loggers(compose: Compose) -> None:
    assert compose().logger.wandb is None
    config = compose("logger=[wandb,tensorboard]", "logger.wandb.project=mine")
    assert config.logger.wandb is not None
    assert config.logger.wandb.project == "mine"
    assert config.logger.tensorboard is not None


@pytest.mark.parametrize(
    "override",
    [
        "data=folder",
        "data=synthetic",
        "schedule=tri_stage",
        "schedule=cosine",
        "schedule=warmup_hold_decay",
        "finetune=lora",
        "logger=wandb",
    ],
)
def test_round_trip(compose: Compose, override: str) -> None:
    config = compose(override)
    text = yaml.safe_dump(to_plain(config), allow_unicode=True)
    assert to_config(from_plain(yaml.safe_load(text))) == config


def test_unknown_key(compose: Compose) -> None:
    plain = to_plain(compose())
    plain["optimizer"]["lrr"] = 1.0
    with pytest.raises(OmegaConfBaseException, match="lrr"):
        from_plain(plain)


ROOT_OPTIONS = [
    (root, choices)
    for root, choices in {
        "train": ["", "data=synthetic schedule=tri_stage logger=[wandb,tensorboard]", "data=hub schedule=cosine",
                  "data=folder schedule=warmup_hold_decay finetune=lora", "data=mix"],
        "prepare": [""], "evaluate": ["run=x"], "tune": ["run=x lm=x"],
    }.items()
    for choices in choices
]  # fmt: skip


def described(root: str, choices: str) -> list[str]:
    options = to_options(compose_root(root, choices.split()), roots()[root])
    return describe_options(options)


@pytest.mark.parametrize(("root", "choices"), ROOT_OPTIONS)
def test_documented(root: str, choices: str) -> None:
    """Every option has a documentation string."""
    lines = described(root, choices)
    assert len(lines) > 20
    for line in lines:
        assert len(line.split("\n      ")[1]) > 10, line


def test_no_secret() -> None:
    """No option holds a key or a password: options are saved and logged."""
    names = {line.split("=")[0] for root, choices in ROOT_OPTIONS for line in described(root, choices)}
    assert len(names) > 110
    assert not [n for n in names if re.search(r"token(?!_min_logp)|key|secret|password", n)]
