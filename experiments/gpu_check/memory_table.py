"""The predicted memory of each model on a GPU, as a table: python -m experiments.gpu_check.memory_table.

Counted as `trainer.plan` counts it, on tensors without values; takes about a minute on one core and little memory.
"""

from khasr.config import compose
from khasr.model.footprint import Footprint
from khasr.training.prediction import memory_by_use, predict

MODELS = {"300M": "xlsr_300m", "1B": "xlsr_1b", "2B": "xlsr_2b"}
SYMBOLS = 80
BATCHES = ((8, 5),)


def footprints(model: str) -> dict[tuple[int, int, bool], Footprint]:
    """The footprint of each batch, in utterances and seconds, with activations recomputed or not."""
    found = {}
    for recompute in (True, False):
        for utterances, seconds in BATCHES:
            words = [f"model={model}", "precision=bf16", f"model.gradient_checkpointing={str(recompute).lower()}"]
            config = compose(*words)
            found[utterances, seconds, recompute] = predict(config, utterances, seconds * 16_000, SYMBOLS)
    return found


def main() -> None:
    """Prints the table."""
    rows: dict[str, list[str]] = {}
    for model in MODELS.values():
        counted = footprints(model)
        any_of_them = next(iter(counted.values()))
        for optimizer in ("adamw", "adamw_8bit", "adafactor"):
            uses = memory_by_use(compose(f"optimizer={optimizer}"), any_of_them)
            total = sum(uses[use] for use in ("weights", "gradients", "optimizer"))
            rows.setdefault(f"weights, gradients, `optimizer={optimizer}`", []).append(f"{total:.1f}")
        rows.setdefault("`optimizer.ema_decay`", []).append(f"{4 * any_of_them.trained / 2**30:.1f}")
        for utterances, seconds in BATCHES:
            kept = [counted[utterances, seconds, how].activation_bytes / 2**30 for how in (True, False)]
            label = f"activations of {utterances} x {seconds} s, recomputed / kept"
            rows.setdefault(label, []).append(" / ".join(f"{size:.1f}" for size in kept))
        flops = [counted[8, 5, how].flops / 40 / 1e12 for how in (True, False)]
        rows.setdefault("TFLOP per second of audio, recomputed / kept", []).append(
            " / ".join(f"{each:.2f}" for each in flops)
        )
    print("| GiB | " + " | ".join(MODELS) + " |\n| --- |" + " ---: |" * len(MODELS))
    for label, values in rows.items():
        print(f"| {label} | " + " | ".join(values) + " |")


if __name__ == "__main__":
    main()
