#!/bin/sh
# What each ingredient of the recipe `modern` is worth: the recipe made small, each run with one thing changed, twice
# (without batch norm also the learning rate, which would be too high for it, and Muon).
# 64 pixels, a quarter of the width, 12 epochs, imagenette's 9,469 training photos, a fifth of which validates: the photos
# of a seed are the same in all runs. Each run becomes a row of benchmarks/results/training.csv. About an hour on two cores.
# Run it from the repository's folder, again to go on after a stop.
set -eu
out=${1:-../verydeep-runs/ablations}

run() { # NAME SEED field=value...
    name=$1-$2
    set -- --set "seed=$2" $(shift 2 && printf -- '--set %s ' "$@")
    if [ -e "$out/$name-added" ]; then
        return
    elif [ -e "$out/$name/report.html" ]; then
        echo "$name is trained to the end" >&2
    elif [ -e "$out/$name/recipe.json" ]; then
        verydeep train --resume "$out/$name"
    else
        verydeep train ../shared/data/imagenette-144/train --recipe modern --out "$out/$name" "$@"
    fi
    python benchmarks/add_run.py "$out/$name"
    touch "$out/$name-added"
}

small="input_size=64 test_resize=91 test_crop=64 width=0.25 epochs=12 cutmix=0.25"
for seed in 0 1; do
    run all "$seed" $small
    run no-muon "$seed" $small muon_factor=0
    run muon-slower "$seed" $small muon_factor=0.2
    run muon-faster "$seed" $small muon_factor=0.8
    run no-cutmix "$seed" $small cutmix=0
    run mixup-instead "$seed" $small cutmix=0 mixup=0.2
    run no-smoothing "$seed" $small label_smoothing=0
    run he "$seed" $small initialization=he whiten=false
    run identity-alone "$seed" $small whiten=false
    run no-average "$seed" $small ema_decay=0
    run no-warmup "$seed" $small warmup_epochs=0
    run plateau "$seed" $small schedule=plateau patience=2
    run no-decay "$seed" $small weight_decay=0
    run no-nesterov "$seed" $small nesterov=false
    run scales-instead "$seed" $small train_areas=none train_scales=64,96
    run small-crops "$seed" $small train_areas=0.08,1
    run color "$seed" $small color_shift=0.1
    run trivial-augment "$seed" $small trivial_augment=true
    run growing "$seed" $small first_size=32
    run more-cutmix "$seed" $small cutmix=0.5
    run configuration-D "$seed" $small configuration=D
    run no-batch-norm "$seed" $small batch_norm=false learning_rate=0.01 muon_factor=0
done
