#!/bin/sh
# CIFAR-10's 50,000 training pictures as class folders: the last 500 of each class become the validation pictures.
# The other scripts call it.
set -eu
data=${1:-../verydeep-runs/data/cifar10-jpeg}
[ ! -d "$data" ] || exit 0
rm -rf "$data.part"
mkdir -p "$data.part"
tar -xzf ../shared/data/cifar10-jpeg/train.tar.gz -C "$data.part"
for class in "$data.part"/train/*; do
    mkdir -p "$data.part/val/${class##*/}"
    find "$class" -name '*.jpg' | sort | tail -n 500 | while read -r picture; do
        mv "$picture" "$data.part/val/${class##*/}"
    done
done
mv "$data.part" "$data" # whole or not at all
