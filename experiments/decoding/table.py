"""WER with intervals: greedy, beam, and beam with a language model as in the card, with unigrams, and tuned.

python experiments/decoding/table.py RUN LM       (after python -m khasr.tune run=RUN lm=LM)
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from khasr.config import DecoderConfig
from khasr.data.datamodule import read_parts
from khasr.decoding.decoder import texts
from khasr.inference.recogniser import load_recogniser, recognise_part
from khasr.run.folder import RunFolder, read_config
from khasr.scoring.error_rates import count_edits
from khasr.scoring.significance import paired_difference, rate_interval

run, lm = sys.argv[1], sys.argv[2]
config = read_config(Path(run))
cache = RunFolder.at(run).log_probs
recogniser = load_recogniser(run)
test = recognise_part(recogniser, read_parts(config.data, config.seed)["test"], config.data, cache)
card = DecoderConfig(name="beam_lm", lm=lm)
tuned = RunFolder.at(run).read_decoder()
assert tuned is not None, "tune the run first: python -m khasr.tune run=RUN lm=LM"
weights: dict[str, Any] = {"alpha": tuned.alpha, "beta": tuned.beta, "unk_score_offset": tuned.unk_score_offset,
               "token_min_logp": tuned.token_min_logp, "beam_prune_logp": tuned.beam_prune_logp}  # fmt: skip
rows = [
    ("greedy", DecoderConfig()),
    ("beam", DecoderConfig(name="beam")),
    ("beam + LM, no unigrams, untuned (as the card)", replace(card, unigrams=False)),
    ("beam + LM + unigrams, untuned", card),
    ("beam + LM, no unigrams, tuned weights", replace(card, unigrams=False, **weights)),
    ("beam + LM + unigrams, tuned", tuned),
]
words = [len(r.split()) for r in test.references]
before = None
found = {}
print(f"{len(words)} utterances, {sum(words):,} words\n")
print("| decoder | WER, % | 95 % | CER, % | against the row above, points |\n| --- | ---: | --- | ---: | --- |")
for name, options in rows:
    decoded = texts(options, recogniser.vocabulary, test.log_probs)
    edits = [count_edits(r.split(), t.split()).total for r, t in zip(test.references, decoded, strict=True)]
    characters = [count_edits(r, t).total for r, t in zip(test.references, decoded, strict=True)]
    wer = rate_interval(edits, words)
    cer = sum(characters) / sum(map(len, test.references))
    step = (
        ""
        if before is None
        else "{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * x for x in paired_difference(edits, before, words)[:3]))
    )
    print(
        f"| {name} | {100 * wer.value:.2f} | {100 * wer.low:.2f} to {100 * wer.high:.2f} | {100 * cer:.2f} | {step} |",
        flush=True,
    )
    before, found[name] = edits, {"wer": wer, "cer": cer, "edits": edits}
print(f"\ntuned: {weights}")
Path(sys.argv[3]).write_text(json.dumps(found) + "\n") if len(sys.argv) > 3 else None
