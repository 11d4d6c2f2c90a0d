"""A box for a network that gives none: around what its last maps find most of a class in.

The map is that of Grad-CAM at the last convolution. With the gap head it is the class activation map itself, the maps
added by the weights of the class: Zhou et al. (2016), whose way to a box this is, too, but for the share.
"""

from collections.abc import Iterator

import numpy as np

from verydeep.architecture import Architecture
from verydeep.explain.backward import Subject, Target, Values
from verydeep.explain.explanation import last_map
from verydeep.explain.gradcam import enlarge, gradcam
from verydeep.explain.methods import account_of_output

SHARE = 0.1  # of the largest value of the map: what is hotter is the object; measured, see docs/log.md


def needed_outputs(architecture: Architecture) -> tuple[str, ...]:
    """What an engine must be asked for: the last map, and all between it and the logits."""
    layers = architecture.layers
    first = [layer.relu_name for layer in layers].index(last_map(architecture))
    return (*(layer.relu_name if layer.has_relu else layer.name for layer in layers[first:-1]), "logits")


def activation_box(subject: Subject, values: Values, class_index: int, image_size: tuple[int, int]) -> np.ndarray:
    """The box of a class in the picture that the network got: its edges, (4,), as shares of that picture.

    values: `needed_outputs` of one picture of image_size (height, width). Where nothing speaks for the class, it is the
    whole picture.
    """
    layer = last_map(subject.architecture)
    maps = gradcam(subject, values, Target("logits", class_index), layer)
    account = account_of_output(subject.architecture, layer, image_size)
    height, width = image_size
    found = hot_box(enlarge(maps, account.center, account.stride, image_size))
    return found / (width, height, width, height)


def hot_box(heat: np.ndarray, share: float = SHARE) -> np.ndarray:
    """The edges, (4,) in pixels, of the largest connected part of a map (H, W) with at least that share of its maximum.

    Pixels that touch at a side are connected; of equal parts the upper one is taken. A map without heat gives itself.
    """
    height, width = heat.shape
    if not heat.max() > 0:
        return np.array([0.0, 0.0, width, height])
    return max(_parts(heat >= share * heat.max()), key=lambda part: part[0])[1]


def _parts(inside: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The connected parts: how many pixels, and the edges. Row by row, runs of pixels join those above them."""
    runs: list[tuple[int, int, int]] = []  # row, first column, column after the last
    parents: list[int] = []

    def root(run: int) -> int:
        while parents[run] != run:
            run = parents[run]
        return run

    above: range = range(0)
    for row, line in enumerate(inside):
        turns = np.flatnonzero(np.diff(line.astype(np.int8), prepend=0, append=0)).tolist()
        here = range(len(runs), len(runs) + len(turns) // 2)
        for run, first, end in zip(here, turns[::2], turns[1::2], strict=True):
            runs.append((row, first, end))
            parents.append(run)
            for other in above:
                if runs[other][1] < end and first < runs[other][2]:
                    one, another = sorted((root(run), root(other)))
                    parents[another] = one
        above = here
    members: dict[int, list[tuple[int, int, int]]] = {}
    for run, found in enumerate(runs):
        members.setdefault(root(run), []).append(found)
    for part in members.values():
        rows, firsts, ends = (np.array(column) for column in zip(*part, strict=True))
        edges = np.array([firsts.min(), rows.min(), ends.max(), rows.max() + 1], float)
        yield int((ends - firsts).sum()), edges
