"""Is the best trial on val also better on test than the weights before tuning, and would a different choice be?

python experiments/decoding/tuned_or_lucky.py RUN      (after khasr.tune)

Decodes val and test with every setting that tuning tried. Test is used only to judge the choice.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from khasr.config import DecoderConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.beam import BeamSearch
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.inference.tuning import decoder_of
from khasr.run.folder import RunFolder, read_config
from khasr.scoring.error_rates import word_edits

run = sys.argv[1]
config = read_config(Path(run))
cache = RunFolder.at(run).log_probs
recogniser = load_recogniser(run)
parts = read_parts(config.data, config.seed)
recognised = [recognise_part(recogniser, parts[name], config.data, cache) for name in ("val", "test")]
trials = json.loads(RunFolder.at(run).tuning.read_text(encoding="utf-8"))["trials"]
tuned = RunFolder.at(run).read_decoder()
assert tuned is not None, "tune the run first: python -m khasr.tune run=RUN lm=LM"
lm = tuned.lm
options = DecoderConfig(name="beam_lm", lm=lm)
search = BeamSearch(options, recogniser.vocabulary)
names = [name for name in trials[0] if name not in ("wer", "decoded")]
rates = []
for trial in trials:
    search.weigh(decoder_of(options, {name: trial[name] for name in names}))
    rates.append([
        100 * sum(word_edits(r, t).total for r, t in zip(part.references, search.texts(part.log_probs), strict=True))
        / sum(len(r.split()) for r in part.references)
        for part in recognised
    ])  # fmt: skip
val, test = np.array(rates).T
settings = np.array([[trial[name] for name in names] for trial in trials])
scaled = (settings - settings.mean(0)) / settings.std(0)
# Only trials near the best one, because the others would distort the fit there.
near = val < val.min() + 6
kernel = ConstantKernel(10) * RBF([1.0] * len(names), (0.3, 30)) + WhiteKernel(0.1, (1e-3, 2))
surface = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a length scale at its bound: the option has no effect
    smooth = np.where(near, surface.fit(scaled[near], val[near]).predict(scaled), np.inf)
print("| chosen | WER on val, % | WER on test, % | weights |\n| --- | ---: | ---: | --- |")
for label, place in (
    ("before tuning", 0),
    ("the best on val", int(val.argmin())),
    ("the minimum of a Gaussian process fitted to val", int(smooth.argmin())),
    ("the best on test (not available in practice)", int(test.argmin())),
):
    print(f"| {label} | {val[place]:.2f} | {test[place]:.2f} | {np.round(settings[place], 2).tolist()} |")
