import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from khasr.config import FolderConfig, MixConfig, compose, to_plain
from khasr.data.corpora.mix import corpora_of
from khasr.data.datamodule import CorpusDataModule
from tests.conftest import write_corpus
from tests.data.corpora.test_hub import write_parquet


def mixed(tmp_path: Path, weight: float) -> CorpusDataModule:
    folder = write_corpus(tmp_path / "c", count=30)
    parquet = write_parquet(tmp_path / "a.parquet", 30)
    parts = f"[{{data:folder,root:'{folder}'}},{{data:hub,root:'{parquet}',weight:{weight}}}]"
    overrides = ["data=mix", f"data.corpora={parts}", "data.batch_size=4", "data.val_share=0.2"]
    data = CorpusDataModule(_compose_mix(overrides), seed=1)
    data.prepare(progress=False)
    return data


def _compose_mix(overrides: list[str]) -> MixConfig:
    data = compose(*overrides).data
    assert isinstance(data, MixConfig)
    return data


@pytest.mark.parametrize("weight", [1.0, 2.0, 0.5])
def test_weights(tmp_path: Path, weight: float) -> None:
    data = mixed(tmp_path, weight)
    train = data.parts["train"]
    assert sum(len(part) for part in data.parts.values()) == 60
    of = {str(row["id"]): (str(row["corpus"]), str(row["speaker"])) for row in train.audio}
    assert {(id_.split("/")[0], corpus) for id_, (corpus, _) in of.items()} == {("folder", "c"), ("hub", "a")}
    assert {speaker for _, speaker in of.values()} == {"folder/s0", "folder/s1", ""}
    order = data.training_order()
    names = [str(id_) for id_ in train.audio["id"]]
    drawn: Counter[str] = Counter()
    sizes = set()
    for epoch in range(40):
        epoch_s = [index for batch in order.epoch(epoch) for index in batch]
        sizes.add(len(order.epoch(epoch)))
        drawn.update(names[index] for index in epoch_s)
    assert len(sizes) == 1
    rates = {corpus: np.mean([drawn[n] for n in names if n.startswith(corpus)]) / 40 for corpus in ("folder", "hub")}
    assert rates["hub"] / rates["folder"] == pytest.approx(weight, rel=0.1)
    if weight == 2.0:
        assert all(drawn[n] >= 70 for n in names if n.startswith("hub"))


def test_saved_options() -> None:
    options = _compose_mix(["data=mix", "data.corpora=[{data:openslr_km,weight:2},{data:fleurs_km}]"])
    assert json.loads(json.dumps(to_plain(options)))["corpora"] == [
        {"data": "openslr_km", "weight": 2},
        {"data": "fleurs_km"},
    ]
    one, other = corpora_of(options)
    assert (one.weight, one.prefix, other.weight) == (2.0, "openslr_km/", 1.0)
    assert other.options.text.segment, "a preset's text options are its own"
    assert not one.options.text.segment


@pytest.mark.parametrize(
    ("corpora", "message"),
    [
        ([], r"data=mix needs data\.corpora"),
        ([{"root": "x"}], "names no corpus. Expected the key data with one of dev_data_km, fleurs_km, folder"),
        ([{"data": "mix"}], "names no corpus"),
        ([{"data": "folder", "weight": 0}], "the weight of folder is 0"),
        ([{"data": "folder", "rooot": "x"}], "rooot"),
    ],
)
def test_bad_mix(corpora: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corpora_of(MixConfig(corpora=corpora))


def test_same_corpus_twice() -> None:
    members = corpora_of(MixConfig(corpora=[{"data": "folder", "root": "a"}, {"data": "folder", "root": "b"}]))
    assert [m.prefix for m in members] == ["folder/", "folder2/"]
    assert [m.options.root for m in members if isinstance(m.options, FolderConfig)] == ["a", "b"]


def test_own_splits(tmp_path: Path) -> None:
    """A corpus of a mix with `split` is split by it: train is only for training, and a manifest has the ids without prefix."""
    one, other = (write_corpus(tmp_path / name, count=20, seed=seed) for seed, name in enumerate(("a", "b")))
    manifest = {"audio/u000": "val", "audio/u001": "val", "audio/u002": "test"}
    manifest |= {f"audio/u{i:03d}": "train" for i in range(3, 18)}
    (tmp_path / "split.tsv").write_text("".join(f"{id_}\t{part}\n" for id_, part in manifest.items()), encoding="utf-8")
    parts = f"[{{data:folder,root:'{one}',split:'{tmp_path}/split.tsv'}},{{data:folder,root:'{other}',split:train}}]"
    data = CorpusDataModule(_compose_mix(["data=mix", f"data.corpora={parts}"]), seed=1)
    data.prepare(progress=False)
    found = {name: [str(id_) for id_ in part.audio["id"]] for name, part in data.parts.items()}
    assert found["val"] == ["folder/audio/u000", "folder/audio/u001"]
    assert found["test"] == ["folder/audio/u002"]
    assert [sum(id_.startswith(prefix) for id_ in found["train"]) for prefix in ("folder/", "folder2/")] == [15, 20]
    assert [fault.id for fault in data.faults] == ["folder/audio/u018", "folder/audio/u019"]
    together = CorpusDataModule(_compose_mix(["data=mix", f"data.corpora=[{{data:folder,root:'{one}'}}]"]), seed=1)
    together.prepare(progress=False)
    assert {name: len(part) for name, part in together.parts.items()} == {"train": 16, "val": 2, "test": 2}
    train = CorpusDataModule(_compose_mix(["data=mix", f"data.corpora=[{{data:folder,root:'{one}',split:train}}]"]), 1)
    with pytest.raises(ValueError, match="val and test would be empty"):
        train.prepare(progress=False)
