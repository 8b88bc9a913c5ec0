"""The cost of a plan's runs: hours measured on runs of the same recipes, or computed from FLOPs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from khasr.data.audio import FRAMES_PER_SECOND, SAMPLE_RATE
from khasr.study.explain.factors import LINKED, Options
from khasr.study.explain.plan import STAGES, Plan
from khasr.study.explain.recipes import Recipe

GPU, FLOPS, PRICE = "A100 80 GB at 35 % of 312 TFLOP/s", 0.35 * 312e12, 2.0
"""The device for hours computed from FLOPs: its FLOP/s at that utilisation, and its price per hour in USD."""

# OpenSLR 42: 2,906 utterances, 4 hours, of which the random split trains on 81 %.
_OPENSLR_UTTERANCES, _OPENSLR_SECONDS = 2906, 5.0
_NOMINAL_UTTERANCES, _NOMINAL_SECONDS = 1000, 5.0  # for the ratio of two runs' work where the corpus is not known
_CONTEXT = 250  # frames that attention sees: an utterance of 5 s


@dataclass(frozen=True)
class Cost:
    """Hours of a run of each cell, on one device, and their source."""

    hours: Mapping[int, float]
    source: str
    price: float | None


def predict(plan: Plan, a: Recipe | None, b: Recipe | None, seconds: Mapping[int, float] | None = None) -> Cost | None:
    """The hours of a run of each cell; None where the number of utterances is not known.

    Args:
        a, b: the recipes, with the training seconds of the given runs.
        seconds: measured training seconds of cells that have been run.
    """
    known = dict(seconds or {})
    for cell, recipe in ((0, a), (plan.whole - 1, b)):
        measured = (recipe.results.get("train") or {}).get("seconds") if recipe else None
        if measured:
            known.setdefault(cell, float(measured))
    cells = range(plan.whole) if not plan.orders else {c for s in range(len(STAGES)) for c, _ in plan.jobs(s)}
    work = {cell: flops(plan.comparison.cell(cell), a, b, nominal=bool(known)) for cell in cells}
    if known:
        # From runs of the same size, if there are any, scaled by their FLOPs.
        size = next((i for i, f in enumerate(plan.factors) if {*f.shown} & {*LINKED["size"]} or f.name == "size"), None)
        hours = {}
        for cell in cells:
            like = [c for c in known if size is None or c >> size & 1 == cell >> size & 1] or list(known)
            scaled = [known[c] * work[cell] / work[c] for c in like]
            hours[cell] = known.get(cell, sum(scaled) / len(scaled)) / 3600
        return Cost(hours, "measured on runs at hand, scaled by audio and size", None)
    if any(math.isnan(w) for w in work.values()):
        return None
    return Cost({cell: work[cell] / FLOPS / 3600 for cell in cells}, f"counted FLOPs on one {GPU}", PRICE)


def flops(options: Options, a: Recipe | None = None, b: Recipe | None = None, nominal: bool = False) -> float:
    """FLOPs of a run's training steps; see `audio_seconds` for what is not known."""
    audio = audio_seconds(options, a, b, nominal)
    forward, convolutions = flops_per_second(options)
    passes = 4 if options.get("model.gradient_checkpointing") is True else 3
    frozen = options.get("finetune.freeze_feature_encoder")
    return audio * (passes * forward + (1 if frozen else 3) * convolutions)


def flops_per_second(options: Options) -> tuple[float, float]:
    """FLOPs of a forward pass per second of audio: of the transformer, and of the feature encoder."""
    shape = {key.rsplit(".", 1)[1]: value for key, value in options.items() if key.startswith("model.architecture.")}
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    layer = 2 * (4 * width**2 + 2 * width * inner) + 4 * _CONTEXT * width
    position = 2 * width**2 / shape["pos_conv_groups"] * shape["pos_conv_kernel"]
    projection = 2 * shape["conv_dim"][-1] * width
    convolutions, rate, channels = 0.0, float(SAMPLE_RATE), 1
    for out, kernel, stride in zip(shape["conv_dim"], shape["conv_kernel"], shape["conv_stride"], strict=True):
        rate /= stride
        convolutions += 2 * kernel * channels * out * rate
        channels = out
    return FRAMES_PER_SECOND * (shape["layers"] * layer + position + projection), convolutions


def audio_seconds(options: Options, a: Recipe | None = None, b: Recipe | None = None, nominal: bool = False) -> float:
    """Seconds of audio that a run trains on, with repetition.

    Args:
        a, b: recipes of given runs, whose corpus is measured.
        nominal: takes a corpus that is not known to be of a nominal size, for ratios; without, nan is returned.
    """
    utterance = _NOMINAL_SECONDS if nominal else math.nan
    accumulated = options["trainer.accumulate_grad_batches"] * max(1, options["trainer.devices"])
    accumulated *= options["trainer.num_nodes"]
    at_once = options["data.batch_size"] * accumulated
    updates_per_epoch = _NOMINAL_UTTERANCES / at_once if nominal else math.nan
    if options["data.name"] == "openslr_km":
        utterance = _OPENSLR_SECONDS
        utterances = _OPENSLR_UTTERANCES * (1 - options["data.test_share"]) * (1 - options["data.val_share"])
        updates_per_epoch = utterances / at_once
    for recipe in (a, b):
        train = (recipe.results.get("train") if recipe else None) or {}
        if recipe and train.get("audio_seconds") and train.get("epochs") and train.get("steps"):
            # Audio of an epoch is the same for both; updates depend on what is in one.
            per_epoch = train["audio_seconds"] / train["epochs"]
            if options["trainer.max_steps"] is None:
                return float(per_epoch * options["trainer.max_epochs"])
            theirs = recipe.options
            their_batch = theirs["data.batch_size"] * theirs["trainer.accumulate_grad_batches"]
            utterance = train["audio_seconds"] / train["steps"] / (their_batch * max(1, theirs["trainer.devices"]))
    if options["data.batch_seconds"] is not None:
        per_update = options["data.batch_seconds"] * accumulated
    else:
        per_update = at_once * utterance
    updates = options["trainer.max_steps"] or options["trainer.max_epochs"] * updates_per_epoch
    return float(updates * per_update)
