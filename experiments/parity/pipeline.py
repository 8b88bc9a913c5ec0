"""Compares the texts of an exported run in transformers' pipeline with khasr's, on the run's test part.

python experiments/parity/pipeline.py RUN [--utterances 50]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from transformers import pipeline

from khasr.data.datamodule import CorpusDataModule
from khasr.decoding.decoder import build_decoder
from khasr.inference.recogniser import recognise
from khasr.model.weights import build_model, load_start
from khasr.publish.export import export
from khasr.run.folder import RunFolder, read_config


def main() -> None:
    """Prints the number of equal texts, and the texts that differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--utterances", type=int, default=50)
    arguments = parser.parse_args()
    run = RunFolder(arguments.run)
    config = read_config(arguments.run)
    data = CorpusDataModule(config.data, config.seed, read_test=True)
    data.prepare(False)
    model, vocabulary, _ = build_model(load_start(config.model, run.best), data.vocabulary, config.model, "keep")
    data.use_vocabulary(vocabulary)
    recognised = recognise(model, data.evaluation_loader("test", whole=True), build_decoder(config.decoder, vocabulary))
    ours = {h.id: h.hypothesis for h in recognised[: arguments.utterances]}
    with tempfile.TemporaryDirectory() as folder:
        print(export(run, Path(folder) / "out", "compared"))
        recognizer = pipeline("automatic-speech-recognition", model=f"{folder}/out")
        part, equal = data.parts["test"], 0
        for row in part.audio:
            if row["id"] in ours:
                raw = np.asarray(row["waveform"], np.float32) / 32768
                theirs = " ".join(recognizer({"raw": raw, "sampling_rate": 16_000})["text"].split())
                equal += theirs == ours[row["id"]]
                if theirs != ours[row["id"]]:
                    print(f"{row['id']}\n  khasr     {ours[row['id']]}\n  pipeline  {theirs}")
    words = sum(len(text.split()) for text in ours.values())
    print(f"{equal} of {len(ours)} texts are equal ({words} words; repeated spaces are ignored)")


if __name__ == "__main__":
    main()
