"""Checks of options that cannot be combined on several devices."""

from khasr.config import Config


def check_combinations(config: Config, ranks: int) -> None:
    """Checks that the strategy can train with the other options.

    Raises:
        ValueError: it cannot; the message names the options to change.
    """
    if config.trainer.strategy == "fsdp":
        _check_fsdp(config)
    layerdrop = config.model.layerdrop
    if ranks > 1 and layerdrop > 0 and config.model.gradient_checkpointing is True:
        raise ValueError(
            f"model.layerdrop={layerdrop} with model.gradient_checkpointing=true on {ranks} devices: "
            "each device drops different layers, recomputation waits for gradients that never arrive, and the run "
            "hangs or fails (transformers #30113). Use model.layerdrop=0 or model.gradient_checkpointing=false."
        )


def _check_fsdp(config: Config) -> None:
    optimizer, finetune = config.optimizer, config.finetune
    refused = (
        (optimizer.ema_decay > 0, f"optimizer.ema_decay={optimizer.ema_decay}", "the average is of whole weights"),
        (finetune.name == "lora", "finetune=lora", "adapters are merged into whole weights"),
        (
            optimizer.name == "adamw_8bit",
            "optimizer=adamw_8bit",
            "its 8-bit states cannot be collected from the devices for a checkpoint",
        ),
        (
            optimizer.name == "adafactor",
            "optimizer=adafactor",
            "a shard has no rows and columns, by which it factors its states",
        ),
        (
            finetune.freeze_encoder_steps > 0,
            f"finetune.freeze_encoder_steps={finetune.freeze_encoder_steps:g}",
            "weights cannot be frozen or released once they are sharded",
        ),
        (
            config.model.compile is True,
            "model.compile=true",
            "compiled layers have not been checked with gathered weights",
        ),
        (
            config.model.layerdrop > 0,
            f"model.layerdrop={config.model.layerdrop}",
            "every device has to compute every layer, and transformers would drop none, silently",
        ),
    )
    for refuse, option, reason in refused:
        if refuse:
            raise ValueError(
                f"trainer.strategy=fsdp with {option}: fsdp shards the weights over the devices, and {reason}. "
                "trainer=ddp works with it."
            )
