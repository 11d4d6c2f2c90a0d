"""The figures on the pages about the accounts are those that the program prints."""

import json
import re
import shlex
from collections.abc import Callable
from itertools import dropwhile
from pathlib import Path
from typing import Any

import pytest

from verydeep.accounting.layers import account_layers, total
from verydeep.accounting.memory import training_memory
from verydeep.accounting.why3x3 import compare_stacks
from verydeep.architecture import Architecture

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts"
ACCOUNTS = (CONCEPTS / "accounts.md").read_text(encoding="utf-8")
HEADS = (CONCEPTS / "heads.md").read_text(encoding="utf-8")
ARTICLE = (CONCEPTS / "the-article-checked.md").read_text(encoding="utf-8")


def test_every_right_value_of_the_article_is_in_the_accounts_of_d() -> None:
    accounts = account_layers(Architecture("D"))
    totals = total(accounts)
    known = {totals.weights, totals.parameters, totals.activations}
    known |= {figure for account in accounts for figure in (account.weights, account.macs, account.activations)}
    table = ARTICLE.split("| the article |")[1].split("\n\n")[0]
    right_values = [line.split("|")[2] for line in table.splitlines()[2:]]
    figures = [int(text.replace(",", "")) for cell in right_values for text in re.findall(r"\d[\d,]*", cell)]
    assert len(figures) >= 11
    assert set(figures) <= known


@pytest.mark.parametrize("configuration", ["A", "B", "C", "D", "E"])
def test_the_papers_millions_are_the_rounded_parameters(configuration: str) -> None:
    (row,) = (line for line in ARTICLE.splitlines() if line.endswith(f"`verydeep describe {configuration}` |"))
    millions, parameters = (int(cell.replace(",", "")) for cell in row.split("|")[2:4])
    assert parameters == total(account_layers(Architecture(configuration))).parameters
    assert millions == round(parameters / 1e6)


@pytest.mark.parametrize("side", [256, 384, 512])
def test_the_dense_view_costs_what_the_page_says(side: int) -> None:
    totals = total(account_layers(Architecture("D").dense(), (side, side)))
    scores = side // 32 - 6
    assert f"| `verydeep describe D --head conv --image {side}` | {totals.macs:,} | {scores} x {scores} |" in ACCOUNTS


def test_the_stacks_of_3x3_are_those_of_the_page() -> None:
    for stack in compare_stacks():
        cells = (
            *(stack.name, stack.receptive_field, f"{stack.weights_per_square_channel} C^2"),
            *(f"{stack.weights:,}", f"{stack.macs:,}", stack.nonlinearities),
        )
        assert f"| {' | '.join(map(str, cells))} |" in ACCOUNTS


def test_a_batch_of_256_takes_the_memory_of_the_page() -> None:
    architecture = Architecture("D")
    memory = training_memory(architecture, account_layers(architecture), 256)
    maps = memory.activations_bytes + memory.activation_gradients_bytes
    assert f"takes {memory.total_bytes / 1e9:.2f} GB to train, {maps / 1e9:.2f} GB of them maps" in ACCOUNTS


@pytest.fixture
def head_of(run: Callable[..., Any]) -> Callable[[str], list[dict[str, Any]]]:
    """A function (command) -> what `verydeep describe` says of the layers above the last pool."""

    def describe(command: str) -> list[dict[str, Any]]:
        layers = json.loads(run(*shlex.split(command)[1:], "--json").out)["layers"]
        *_, head = (layers[place + 1 :] for place, layer in enumerate(layers) if layer["kind"] == "pool")
        return list(head)

    return describe


def shown(layer: dict[str, Any]) -> str:
    channels, height, width = layer["output_shape"]
    return f"{height} x {width} x {channels:,}"


def test_heads_cost_what_the_page_says(head_of: Callable[[str], list[dict[str, Any]]]) -> None:
    rows = re.findall(r"^\| .+ \| `(verydeep describe .+)` \| (\S+) \| (\S+) \| (.+) \|$", HEADS, re.MULTILINE)
    assert len(rows) == 8
    for command, *cells in rows:
        head = head_of(command)
        costs = (sum(layer[name] for layer in head) for name in ("parameters", "macs"))
        assert cells == [*(f"{cost:,}" for cost in costs), shown(head[-1])]


def test_layers_of_heads_are_those_of_the_page(head_of: Callable[[str], list[dict[str, Any]]]) -> None:
    tables = re.findall(r"^    (verydeep describe .+)\n\n((?:\|.+\n)+)", HEADS, re.MULTILINE)
    assert len(tables) == 6
    for command, table in tables:
        described = {
            layer["name"]: f"| {layer['name']} | {shown(layer)} | {layer['parameters']:,} | {layer['macs']:,} |"
            for layer in head_of(command)
        }
        rows = table.splitlines()[2:]
        names = [row.split()[1] for row in rows]
        assert rows == [described[name] for name in names]
        assert names[-1] == list(described)[-1]
        left_out = set(described) - set(names)
        assert left_out == ({"conv5_2_D", "conv4_2_D", "conv3_2_D"} if "segnet" in command else set())
        assert {described[name].split(" | ", 1)[1] for name in left_out} <= {row.split(" | ", 1)[1] for row in rows}


def test_the_rest_of_the_network_is_the_same_under_each_head() -> None:
    for head in ("fc", "gap", "segnet", "embedding"):
        layers = account_layers(Architecture("D", head=head))  # type: ignore[arg-type]
        body = list(dropwhile(lambda layer: layer.kind != "pool", reversed(layers)))
        costs = (sum(layer.parameters for layer in body), sum(layer.macs for layer in body))
        assert "have {:,} parameters and take {:,} MACs for a photo".format(*costs) in HEADS


def test_boxes_cost_a_gap_head_what_the_page_says() -> None:
    with_box, without = (total(account_layers(Architecture("D", "gap", boxes=boxes))) for boxes in ("single", "none"))  # type: ignore[arg-type]
    assert f"for {with_box.parameters - without.parameters:,} parameters more than without" in HEADS
