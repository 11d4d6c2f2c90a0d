"""What a network pays for embeddings: photos of one class should lie near each other, those of others far away.

embeddings: (n, d) float, of length 1 as the network gives them, so that no distance is above 2; labels: (n,) int64.
Distances are Euclidean. They are summed over squared differences, never from products, so small ones are exact; where
two embeddings coincide the gradient of their distance is 0, not infinite. Everything is computed in float32 at least,
also where a network around it runs in bfloat16.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from torch import Tensor, nn

MARGIN = 0.2  # of `triplet_loss`
FAR_ENOUGH = 1.0  # of `contrastive_loss`
TEMPERATURE = 0.05  # of `proxy_loss`, as in the paper
PROXIES = "proxies"  # the name of this parameter
_STREAM = 2  # of random numbers of a seed: `initialize` has others


def triplet_loss(embeddings: Tensor, labels: Tensor, margin: float | None = MARGIN) -> Tensor:
    """Batch-hard triplets: of each photo the farthest of its class should be nearer than the nearest of all others.

    The mean over the photos of max(0, margin + farthest - nearest), or, with `margin` None, of the soft margin
    log(1 + exp(farthest - nearest)). Distances are not squared. A photo without another of its class in the batch asks
    nothing, and answers others. Where nobody can ask, as in a batch of one class, the loss is 0 and so is its gradient.
    Source: Hermans et al. (2017), "In defense of the triplet loss for person re-identification", section 2.
    """
    apart = _distances(embeddings)
    is_same, is_other = _pairs(labels)
    asks = is_same.any(dim=1) & is_other.any(dim=1)
    farthest = apart.masked_fill(~is_same, -torch.inf)[asks].amax(dim=1)
    nearest = apart.masked_fill(~is_other, torch.inf)[asks].amin(dim=1)
    difference = farthest - nearest
    costs = F.softplus(difference) if margin is None else F.relu(difference + margin)
    return _mean(costs)


def contrastive_loss(embeddings: Tensor, labels: Tensor, margin: float = FAR_ENOUGH) -> Tensor:
    """All pairs of the batch: those of one class should coincide, all others be `margin` or more apart.

    With D the distance of a pair, its cost is D^2 / 2 where the classes are the same and max(0, margin - D)^2 / 2 where
    they differ: Hadsell, Chopra and LeCun (2006), "Dimensionality reduction by learning an invariant mapping", equation
    4. A batch has many more pairs of the second kind, so the loss is the mean of the first plus the mean of the second,
    each 0 where there is no such pair. A batch of one class has none of the second, and pulls its photos together.
    """
    apart = _distances(embeddings)
    is_same, is_other = (pairs.triu(diagonal=1) for pairs in _pairs(labels))  # each pair once
    squares = apart[is_same].square() / 2
    shortfalls = F.relu(margin - apart[is_other]).square() / 2
    return _mean(squares) + _mean(shortfalls)


def proxy_loss(embeddings: Tensor, labels: Tensor, proxies: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The normalised soft-max: each photo should be most like its class's proxy, a vector that is learned with it.

    The mean of -log of the soft-max of cosine / temperature. proxies: (classes, d), a parameter made by
    `make_proxies`; it is brought to length 1 here. A batch may be of any classes, also of one.
    Source: Zhai and Wu (2019), "Classification is a strong baseline for deep metric learning", section 3.
    """
    with _exact(embeddings):
        cosines = _in_float(embeddings) @ F.normalize(_in_float(proxies), dim=1).T
        return F.cross_entropy(cosines / temperature, labels)


def make_proxies(classes: int, dimensions: int, seed: int) -> Tensor:
    """A vector of length 1 for each class, in a random direction: (classes, dimensions) float32."""
    random = np.random.Generator(np.random.Philox(key=[seed, _STREAM]))  # torch's own numbers differ by processor
    return F.normalize(torch.from_numpy(random.standard_normal((classes, dimensions), dtype=np.float32)), dim=1)


def add_proxies(network: nn.Module, classes: int, dimensions: int, seed: int) -> None:
    """The network learns a proxy of each class from now on, beside its layers.

    It is a parameter of the module itself, so that whatever treats these treats it as well: the optimiser, averages,
    saved states. A model file has the arrays of the layers alone: nobody needs proxies once the training is over.
    """
    network.register_parameter(PROXIES, nn.Parameter(make_proxies(classes, dimensions, seed)))


def _distances(embeddings: Tensor) -> Tensor:
    """(n, n), of each to each. torch's derivative of a distance of 0 is 0."""
    with _exact(embeddings):
        vectors = _in_float(embeddings)
        return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")


def _pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(n, n) bool each: two different photos of one class, and photos of two classes."""
    is_same = labels[:, None] == labels
    return is_same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~is_same


def _mean(costs: Tensor) -> Tensor:
    """The mean; of none it is 0, which can be walked back from, too."""
    return costs.sum() / max(1, len(costs))


def _exact(embeddings: Tensor) -> torch.autocast:
    """Within it no product is rounded to bfloat16."""
    return torch.autocast(embeddings.device.type, enabled=False)


def _in_float(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
