#!/usr/bin/env bash
# The numbers of this folder, from the two runs of README.md and a text for the language model.
#   TWIN=RUN DIGITS=RUN TEXT=wiki.txt experiments/decoding/run.sh
set -euo pipefail
python=${PYTHON:-python}
cd "$(dirname "$0")/../.."
out=$(mktemp -d)
"$python" -m khasr.build_lm "$TEXT" --run "$TWIN" --spelling 0 --out "$out/lm_twin"
"$python" -m khasr.build_lm --run "$DIGITS" --order 3 --prune 0 --spelling 0 --out "$out/lm_digits"
"$python" -m khasr.build_lm "$TEXT" --run "$TWIN" --out "$out/spelling8"
"$python" -m khasr.build_lm "$TEXT" --run "$TWIN" --spelling 10 --out "$out/spelling10"
"$python" -m khasr.build_lm "$TEXT" --run "$TWIN" --unit character --order 6 --prune 0 --out "$out/characters6"
"$python" experiments/decoding/open_vocabulary.py "$TWIN" "$out"/{lm_twin,spelling8,characters6} --characters "$out"/spelling{8,10} --trials 60
"$python" experiments/decoding/weights.py "$TWIN" "$out/spelling8"
for name in twin digits; do
    run=$([ $name = twin ] && echo "$TWIN" || echo "$DIGITS")
    "$python" -m khasr.tune "run='$run'" "lm='$out/lm_$name'"
    "$python" experiments/decoding/table.py "$run" "$out/lm_$name"
done
"$python" experiments/decoding/benchmark.py "$TWIN" "$out/spelling8"
"$python" experiments/decoding/fuzz.py 60 1
"$python" experiments/decoding/long_audio.py "$TWIN" val
"$python" experiments/decoding/long_audio.py "$DIGITS" test
"$python" experiments/decoding/tuned_or_lucky.py "$TWIN"
"$python" -m khasr.evaluate "run='$TWIN'" part=test "hydra.run.dir='$out/tuned'"
"$python" -m khasr.evaluate "run='$TWIN'" part=test decoder=beam_lm "decoder.lm='$out/lm_twin'" "hydra.run.dir='$out/untuned'"
"$python" experiments/decoding/paired_test.py "$out/tuned" "$out/untuned"
