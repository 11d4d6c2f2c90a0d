"""The figures on the pages about the accounts are those that the program prints."""

import re
from pathlib import Path

import pytest

from verydeep.accounting.layers import account_layers, total
from verydeep.accounting.memory import training_memory
from verydeep.accounting.why3x3 import compare_stacks
from verydeep.architecture import Architecture

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts"
ACCOUNTS = (CONCEPTS / "accounts.md").read_text(encoding="utf-8")
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
