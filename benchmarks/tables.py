"""The tables of results in the README, made from the rows of results/*.csv: `python benchmarks/tables.py`.

A table stands between the comments <!-- results: accuracy.csv --> and <!-- end -->. Of rows that differ in nothing but
their figure, its date and its commit, the last one counts. Rows of a model's file that was replaced since do not count,
nor, where no model took part, those that differ in the unit and the size, which stand behind the last colon; nor, of a
recipe's, those of another network than it has now.
"""

import csv
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SECTION = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
OF_THE_MEASUREMENT = ("date", "commit", "versions", "model", "n", "value", "spread")

Row = dict[str, str]


def main() -> None:
    readme = REPOSITORY / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """The text with every table made anew."""
    return SECTION.sub(lambda section: section[1] + table(latest(read(RESULTS / section[2]))) + section[3], text)


def read(path: Path) -> list[Row]:
    """The rows of a file of results; none where it is missing."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def latest(rows: list[Row]) -> list[Row]:
    """One row for each figure, in the order in which they were first measured."""
    files = {model(row): row["model"] for row in rows}  # the last of each name
    figures: dict[tuple[str, ...], Row] = {}
    for row in rows:
        if row["model"] != files[model(row)]:
            continue
        protocol = row["protocol"].rpartition(":")[0] if row["model"] == "-" else row["protocol"]
        changing = ("protocol", "architecture") if "of recipe " in protocol else ("protocol",)
        condition = tuple(row[name] for name in row if name not in (*OF_THE_MEASUREMENT, *changing))
        figures[(protocol, *condition)] = row
    return list(figures.values())


def table(rows: list[Row]) -> str:
    """Markdown, and below it the machines that the figures were measured on."""
    if not rows:
        return "<not measured yet>\n"
    lines = ["| what | model | network | engine | figure | spread | n |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        figure, low, high = (in_its_unit(text, row["protocol"]) for text in (row["value"], *row["spread"].split("..")))
        what = (row["protocol"], model(row), row["architecture"], engine(row))
        cells = (*what, f"**{figure}**", f"{low} to {high}", row["n"])
        lines.append(f"| {' | '.join(cells)} |")
    machines = sorted({f"{row['machine']}, {row['threads']} threads" for row in rows})
    return "\n".join([*lines, "", f"Measured on: {'; '.join(machines)}.", ""])


def model(row: Row) -> str:
    """Its name, without the sum of its file."""
    return row["model"].partition(" sha256:")[0]


def engine(row: Row) -> str:
    """What ran the network, and how: "torch, float32, batch 32"."""
    return ", ".join(text for text in (row["engine"], row["dtype"], f"batch {row['batch']}") if text != "-")


def in_its_unit(value: str, protocol: str) -> str:
    """Accuracies are stored as a share of 1 and shown in per cent; other figures have their unit in the protocol."""
    return f"{float(value):.1%}" if protocol.startswith("top-") else value


if __name__ == "__main__":
    main()
