"""Several corpora as one: data=mix."""

from dataclasses import dataclass
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from khasr.config import CONF_DIR, SCHEMAS, DataConfig, MixConfig, escape_interpolations


def corpus_options(part: dict[str, Any], mix: MixConfig) -> tuple[DataConfig, float]:
    """The options and the weight of one corpus of a mix: its choice under conf/data, changed by the keys of `part`.

    Raises:
        ValueError: `part` names no corpus, or an option that the corpus does not have.
    """
    own = dict(part)
    choice, weight = own.pop("data", None), own.pop("weight", 1.0)
    file = CONF_DIR / "data" / f"{choice}.yaml"
    if choice == "mix" or not file.is_file():
        there = ", ".join(sorted(f.stem for f in file.parent.glob("*.yaml") if f.stem != "mix"))
        raise ValueError(f"data.corpora: {part} names no corpus. Expected the key data with one of {there}.")
    if not isinstance(weight, int | float) or not weight > 0:
        raise ValueError(f"data.corpora: the weight of {choice} is {weight}. Expected a number greater than 0.")
    preset = yaml.safe_load(file.read_text(encoding="utf-8"))
    schema = (
        preset.pop("defaults")[0].popitem()[0] if isinstance(preset["defaults"][0], dict) else preset.pop("defaults")[0]
    )
    typed = OmegaConf.structured(SCHEMAS["data"][schema.split("@")[0].rsplit("/", 1)[-1]])
    plain = escape_interpolations(own)  # saved options are not resolved a second time
    try:
        merged = OmegaConf.merge(typed, preset, {"cache_dir": mix.cache_dir, "on_error": mix.on_error}, plain)
    except OmegaConfBaseException as error:
        raise ValueError(f"data.corpora: {choice}: {str(error).splitlines()[0]}") from None
    return cast(DataConfig, OmegaConf.to_object(merged)), float(weight)


@dataclass
class Member:
    """A corpus of a run: its options, its weight in training, and the prefix of its ids and speakers in a mix.

    Attributes:
        split_alone: it is split by its own data.split, not together with the other corpora of a mix.
    """

    options: DataConfig
    weight: float = 1.0
    prefix: str = ""
    split_alone: bool = False


def corpora_of(options: DataConfig) -> list[Member]:
    """The corpora that `data=` names: one, or those of a mix.

    Raises:
        ValueError: an empty mix, or a member that is not a corpus.
    """
    if not isinstance(options, MixConfig):
        return [Member(options)]
    if not options.corpora:
        raise ValueError(
            "data=mix needs data.corpora, a list of corpora with the options of each: "
            '"data.corpora=[{data:openslr_km,root:A},{data:fleurs_km,weight:0.5}]".'
        )
    members: list[Member] = []
    for part in options.corpora:
        own, weight = corpus_options(part, options)
        # Numbered if a corpus occurs more than once, so that ids stay unique.
        before = sum(str(part["data"]) == str(other["data"]) for other in options.corpora[: len(members)])
        members.append(Member(own, weight, f"{part['data']}{before + 1 if before else ''}/", "split" in part))
    return members
