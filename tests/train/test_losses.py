"""Losses of embeddings against loops over photos and pairs, and at the points where distances have no derivative."""

import math
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'verydeep[train]'")

import torch.nn.functional as F  # noqa: E402, N812, after the check
from torch import Tensor  # noqa: E402

from verydeep.train.losses import contrastive_loss, make_proxies, proxy_loss, triplet_loss  # noqa: E402

LABELS = {
    "three classes": [0, 0, 0, 1, 1, 2, 2, 2],
    "a class of one photo": [0, 0, 5, 1, 1, 1, 0, 1],
    "mixed up": [2, 0, 1, 0, 2, 1, 1, 0],
}


def unit(count: int, dimensions: int = 5, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dimensions, generator=random, dtype=torch.float64), dim=1)


def triplet_by_loops(embeddings: Tensor, labels: list[int], margin: float | None) -> Tensor:
    costs = []
    photos = range(len(labels))
    for a in photos:
        same = [torch.dist(embeddings[a], embeddings[p]) for p in photos if p != a and labels[p] == labels[a]]
        other = [torch.dist(embeddings[a], embeddings[n]) for n in photos if labels[n] != labels[a]]
        if same and other:
            difference = max(same) - min(other)
            costs.append(
                torch.log(1 + difference.exp()) if margin is None else max(difference + margin, 0 * difference)
            )
    return torch.stack(costs).mean()


def contrastive_by_loops(embeddings: Tensor, labels: list[int], margin: float) -> Tensor:
    same, other = [], []
    for i in range(len(labels)):
        for j in range(i):
            distance = torch.dist(embeddings[i], embeddings[j])
            if labels[i] == labels[j]:
                same.append(distance**2 / 2)
            else:
                other.append(max(margin - distance, 0 * distance) ** 2 / 2)
    return torch.stack(same).mean() + torch.stack(other).mean()


def proxy_by_loops(embeddings: Tensor, labels: list[int], proxies: Tensor, temperature: float) -> Tensor:
    costs = []
    for embedding, label in zip(embeddings, labels, strict=True):
        powers = [(embedding @ proxy / proxy.norm() / temperature).exp() for proxy in proxies]
        costs.append(-(powers[label] / sum(powers)).log())
    return torch.stack(costs).mean()


def check_against(loss: Callable[[Tensor], Tensor], by_loops: Callable[[Tensor], Tensor], embeddings: Tensor) -> None:
    found, expected = (embeddings.clone().requires_grad_() for _ in range(2))
    value, wanted = loss(found), by_loops(expected)
    assert value.item() == pytest.approx(wanted.item(), rel=1e-12)
    value.backward()
    wanted.backward()
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("margin", [0.2, 1.5, None])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_the_triplet_loss_and_its_gradient_are_those_of_the_loops(labels: list[int], margin: float | None) -> None:
    check_against(
        lambda embeddings: triplet_loss(embeddings, torch.tensor(labels), margin),
        lambda embeddings: triplet_by_loops(embeddings, labels, margin),
        unit(len(labels)),
    )


@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_the_contrastive_loss_and_its_gradient_are_those_of_the_loops(labels: list[int], margin: float) -> None:
    check_against(
        lambda embeddings: contrastive_loss(embeddings, torch.tensor(labels), margin),
        lambda embeddings: contrastive_by_loops(embeddings, labels, margin),
        unit(len(labels)),
    )


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_the_proxy_loss_and_its_gradients_are_those_of_the_loops(labels: list[int], temperature: float) -> None:
    proxies = 3 * unit(6, seed=1)
    check_against(
        lambda embeddings: proxy_loss(embeddings, torch.tensor(labels), proxies, temperature),
        lambda embeddings: proxy_by_loops(embeddings, labels, proxies, temperature),
        unit(len(labels)),
    )
    check_against(
        lambda proxies: proxy_loss(unit(len(labels)), torch.tensor(labels), proxies, temperature),
        lambda proxies: proxy_by_loops(unit(len(labels)), labels, proxies, temperature),
        proxies,
    )


def test_the_triplet_loss_of_a_known_triangle() -> None:
    embeddings = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])  # two of a class, and one of another
    found = triplet_loss(embeddings, torch.tensor([0, 0, 1]), margin=0.2)
    first, second = max(0, math.sqrt(2) - 2 + 0.2), 0.2
    assert found.item() == pytest.approx((first + second) / 2)
    soft = triplet_loss(embeddings, torch.tensor([0, 0, 1]), margin=None)
    assert soft.item() == pytest.approx((math.log(1 + math.exp(math.sqrt(2) - 2)) + math.log(2)) / 2)


def test_of_the_contrastive_loss_either_kind_of_pair_has_half_a_say() -> None:
    embeddings = torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1]])
    found = contrastive_loss(embeddings, torch.tensor([0, 0, 1, 1]), margin=2.0)
    same = (2 + 0) / 2 / 2  # pairs 01 and 23: squares 2 and 0
    other = (2 * (2 - math.sqrt(2)) ** 2 + 2 * 2**2) / 2 / 4  # 02 and 03 are sqrt(2) apart, 12 and 13 coincide
    assert found.item() == pytest.approx(same + other)


def test_a_photo_like_its_proxy_alone_costs_nearly_nothing() -> None:
    assert proxy_loss(torch.eye(4), torch.arange(4), torch.eye(4)).item() < 1e-6
    assert proxy_loss(torch.eye(4), torch.arange(4), torch.ones(4, 4)).item() == pytest.approx(math.log(4))


LOSSES = {
    "triplet": triplet_loss,
    "soft triplet": lambda embeddings, labels: triplet_loss(embeddings, labels, None),
    "contrastive": contrastive_loss,
    "proxy": lambda embeddings, labels: proxy_loss(embeddings, labels, torch.eye(9, embeddings.shape[1])),
}
BATCHES = {
    "all coincide": (torch.ones(6, 4) / 2, [0, 0, 1, 1, 2, 2]),
    "nearly coincide": (torch.ones(6, 4) / 2 + 1e-20 * torch.randn(6, 4), [0, 0, 1, 1, 2, 2]),
    "classes coincide": (torch.eye(6, 4).repeat_interleave(2, 0)[:6], [0, 0, 1, 1, 2, 2]),
    "zeros": (torch.zeros(4, 4), [0, 0, 1, 1]),
    "every class once": (torch.eye(4), [0, 1, 2, 3]),
    "one class": (torch.eye(4), [0, 0, 0, 0]),
    "one photo": (torch.eye(1, 4), [7]),
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_gradient_is_finite_where_photos_coincide_and_classes_are_short(
    loss: Callable[[Tensor, Tensor], Tensor], batch: tuple[Tensor, list[int]]
) -> None:
    vectors, labels = batch
    embeddings = vectors.clone().requires_grad_()
    value = loss(embeddings, torch.tensor(labels))
    value.backward()
    assert math.isfinite(value.item())
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one class", "every class once"])
def test_a_batch_without_triplets_teaches_nothing(labels: list[int]) -> None:
    embeddings = torch.eye(4).requires_grad_()
    for margin in (0.2, None):
        loss = triplet_loss(embeddings, torch.tensor(labels), margin)
        (gradient,) = torch.autograd.grad(loss, embeddings)
        assert loss.item() == 0
        assert not gradient.any()


def test_within_bfloat16_the_losses_are_those_of_float32() -> None:
    vectors, labels = unit(8).float(), torch.tensor(LABELS["mixed up"])
    for loss in LOSSES.values():
        with torch.autocast("cpu", torch.bfloat16):
            found = loss(vectors, labels)
        assert found.dtype == torch.float32
        assert found.item() == loss(vectors, labels).item()
        assert loss(vectors.bfloat16(), labels).dtype == torch.float32


def test_steps_down_each_loss_bring_classes_together() -> None:
    labels = torch.arange(12) % 3
    for name, loss in LOSSES.items():
        free = torch.randn(12, 4, generator=torch.Generator().manual_seed(3)).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=0.1)
        for _ in range(40):
            optimizer.zero_grad()
            loss(F.normalize(free, dim=1), labels).backward()
            optimizer.step()
        embeddings = F.normalize(free.detach(), dim=1)
        likeness = embeddings @ embeddings.T
        is_same = labels[:, None] == labels
        assert likeness[is_same].mean() > likeness[~is_same].mean() + 0.5, name


def test_proxies_have_length_1_and_follow_from_the_seed() -> None:
    one, other = (make_proxies(7, 16, seed=5) for _ in range(2))
    assert torch.equal(one, other)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(7))
