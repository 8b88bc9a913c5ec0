#!/usr/bin/env bash
# The sensitivity arms of a protocol, A and B only with six seeds each: runs them, or continues.
#   PYTHON=.venv/bin/python experiments/card_in_small/arms.sh known_speakers/run.sh DIGITS WORK ARM...
# ARM is masks, low, high, blank or second_stage; WORK/why has the main study's runs of A, which second_stage starts from.
set -euo pipefail
python=$(realpath -s "${PYTHON:-$(command -v python)}")
here=$(realpath "$(dirname "$0")")
run=$(realpath "$here/$1") digits=$(realpath "$2")
mkdir -p "$3"
work=$(realpath "$3")
shift 3
case $run in # L/sqrt(5) and L*sqrt(5) for A, and a fifth for B
    "$here/run.sh") low=(6.3e-3 1.25e-3) high=(3.1e-2 6.3e-3) ;;
    "$here/known_speakers/run.sh") low=(6.7e-4 1.34e-4) high=(3.35e-3 6.7e-4) ;;
    *) low=(9e-4 1.8e-4) high=(4.5e-3 9e-4) ;;
esac
# All that differs is one factor, so that its only cells are A and B.
export GROUP=recipe=model.name,model.checkpoint,optimizer.lr,schedule.warmup,trainer.max_steps,trainer.val_every_steps
export KHASR_CACHE=${KHASR_CACHE:-$work/cache}
second_stage() { # of each A: from its best.ckpt, same options, new seed
    cd "$work"
    export PYTHONPATH=${here%/experiments/card_in_small}
    a=$("$python" -c 'import json; print(json.load(open("why/explain.json"))["a"])')
    for seed in 1001 1002 1003 1004 1005 1006; do
        folder=second_stage/runs/seed-$((seed + 1000))_experiment-A_second
        grep -qs '"status": "completed"' "$folder/results.json" ||
            echo "${a/model.head=new/model.head=keep} model.checkpoint=$(echo why/runs/seed-"${seed}"_experiment-A_????????) seed=$((seed + 1000)) hydra.run.dir=$folder"
    done | sed 's/model.checkpoint=starts[^ ]* //' | xargs -P 2 -L 1 "$python" -m khasr.train
}
for arm; do
    case $arm in
        masks)
            heavy=(--fix model.mask_time_prob=0.3 model.mask_feature_prob=0.25)
            if [ -f "$work/masks/why/explain.json" ]; then heavy=(); fi # the plan has them already
            "$run" "$digits" "$work/masks" "${heavy[@]}"
            ;;
        low) LR_A=${low[0]} LR_B=${low[1]} "$run" "$digits" "$work/low" ;;
        high) LR_A=${high[0]} LR_B=${high[1]} "$run" "$digits" "$work/high" ;;
        blank) HEAD=blank "$run" "$digits" "$work/blank" ;;
        second_stage) (second_stage) ;;
    esac
done
