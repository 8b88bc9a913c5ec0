"""The ranges of options: what a type does not say, told before anything takes time."""

import math
import re
from typing import Any

from khasr.config.options import Config, TriStageConfig
from khasr.config.schemas import to_plain

# Options by the end of their names, the least and the most they may be.
_RANGES: list[tuple[str, float, float]] = [
    (r"dropout|layerdrop|_prob|_share|layer_decay|final_scale", 0, 1),
    (
        r"batch_size|accumulate_grad_batches|(?<!encoder)_steps|(?<!wandb\.)utterances|beam_width|hidden_size|\blayers|heads|\brank|_patience"
        r"|num_nodes|average_checkpoints|trials|n_best|resamples",
        1,
        math.inf,
    ),
    (r"mask_\w+_length|voices|intermediate_size|pos_conv_kernel|pos_conv_groups", 1, math.inf),
    (r"max_epochs|max_hours|max_seconds|batch_seconds|chunk_seconds|join_seconds|\beps|layer_decay", 1e-30, math.inf),
    (
        r"\blr|head_lr|warmup|hold|\bdecay|_scale|weight_decay|gradient_clip_norm|min_seconds|stride_seconds|alpha|num_workers|seed|_gib",
        0,
        math.inf,
    ),
    (r"_encoder_steps|wandb\.utterances|drop_layers|reinit_layers", 0, math.inf),
]


def _check_numbers(section: dict[str, Any], prefix: str) -> None:
    for key, value in section.items():
        if isinstance(value, dict):
            _check_numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            for names, least, most in _RANGES:
                if re.search(f"(?:{names})$", f"{prefix}{key}") and not least <= value <= most:
                    wanted = f"at least {least:g}" if most == math.inf else f"between {least:g} and {most:g}"
                    raise ValueError(f"{prefix}{key}={value}: expected a number {wanted}.")


def check_ranges(config: Any) -> None:
    """Looks whether each option is in its range and lists fit each other.

    Raises:
        ValueError: one is not; its name, value and what is expected.
    """
    _check_numbers(to_plain(config), "")
    if not isinstance(config, Config):
        return  # a command that does not train

    def expect(right: bool, name: str, value: object, wanted: str) -> None:
        if not right:
            raise ValueError(f"{name}={value}: expected {wanted}.")

    betas, speed, noise = config.optimizer.betas, config.data.augment.speed, config.data.augment.noise_snr_db
    expect(
        len(betas) == 2 and all(0 <= b < 1 for b in betas), "optimizer.betas", betas, "two numbers from 0 to below 1"
    )
    schedule = config.schedule
    if isinstance(schedule, TriStageConfig):
        expect(schedule.final_scale > 0, "schedule.final_scale", schedule.final_scale, "a share above 0 (tri_stage)")
    ema = config.optimizer.ema_decay
    expect(0 <= ema < 1, "optimizer.ema_decay", ema, "a share from 0 to below 1")
    expect(all(s > 0 for s in speed), "data.augment.speed", speed, "factors above 0")
    for name, pair in (("noise_snr_db", noise), ("gain_db", config.data.augment.gain_db)):
        right = not pair or (len(pair) == 2 and pair[0] <= pair[1])
        expect(right, f"data.augment.{name}", pair, "[lowest,highest]")
    pause, join = config.data.augment.pause_seconds, config.data.augment.join
    right = not pause or (len(pause) == 2 and 0 <= pause[0] <= pause[1])
    expect(right, "data.augment.pause_seconds", pause, "[shortest,longest] of 0 or more seconds")
    expect(all(count >= 1 for count in join), "data.augment.join", join, "counts of utterances, at least 1")
    devices = config.trainer.devices
    expect(devices == -1 or devices >= 1, "trainer.devices", devices, "at least 1, or -1 for all GPUs")
    shape = config.model.architecture
    expect(
        shape.hidden_size % shape.heads == 0 and shape.hidden_size % shape.pos_conv_groups == 0,
        "model.architecture.hidden_size",
        shape.hidden_size,
        f"a multiple of heads ({shape.heads}) and of pos_conv_groups ({shape.pos_conv_groups})",
    )
    expect(
        len(shape.conv_dim) == len(shape.conv_kernel) == len(shape.conv_stride) > 0,
        "model.architecture.conv_dim",
        shape.conv_dim,
        f"as many numbers as conv_kernel {shape.conv_kernel} and conv_stride {shape.conv_stride}",
    )
    expect(
        config.data.batch_seconds is None or config.data.order == "by_length",
        "data.batch_seconds",
        config.data.batch_seconds,
        "data.order=by_length beside it: batches of like lengths are what it makes",
    )
    stride = math.prod(shape.conv_stride)
    expect(
        stride == 320, "model.architecture.conv_stride", shape.conv_stride, f"a product of 320 samples, not {stride}"
    )
