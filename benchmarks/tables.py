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
ROOFLINE = REPOSITORY / "docs" / "pictures" / "roofline.svg"
# The quantities of `verydeep bench`, as its rows call them.
FIRST_PREDICTION, PEAK_MEMORY = "start to first prediction, not the first start", "peak memory of a process"
TIMES_AS_FAST = "times as fast as the best rival in "
OF_THE_MEASUREMENT = ("date", "commit", "versions", "model", "n", "value", "spread")

Row = dict[str, str]


def main() -> None:
    readme = REPOSITORY / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """The text with every table made anew."""

    def section(found: re.Match[str]) -> str:
        rows = latest(read(RESULTS / found[2]))
        made = (engines if found[2] == "engines.csv" else table)(rows) if rows else "<not measured yet>\n"
        return found[1] + made + found[3]

    return SECTION.sub(section, text)


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
    lines = ["| what | model | network | engine | figure | spread | n |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        figure, low, high = (in_its_unit(text, row["protocol"]) for text in (row["value"], *row["spread"].split("..")))
        what = (row["protocol"], model(row), row["architecture"], engine(row))
        cells = (*what, f"**{figure}**", f"{low} to {high}", row["n"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", measured_on(rows), ""])


def engines(rows: list[Row]) -> str:
    """`verydeep bench`: a table for each network and number of threads, and the roofline where it was drawn."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["architecture"], size(row), row["threads"]), []).append(row)
    lines = []
    for (network, pixels, threads), members in groups.items():
        lines += [f"{network}, {pixels}, {threads} {'thread' if threads == '1' else 'threads'}:", ""]
        lines += [*engine_table(members), "", *comparisons(members), ""]
    if ROOFLINE.exists():
        place = ROOFLINE.relative_to(REPOSITORY).as_posix()
        lines += [f"![The layers of the native engine beside what the machine can do at most]({place})", ""]
    return "\n".join([*lines, measured_on(rows), ""])


def engine_table(rows: list[Row]) -> list[str]:
    """A line for each engine and precision, the fastest first: its time at each batch, its error, start and memory."""
    batches = sorted({int(row["batch"]) for row in rows})
    figures: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        what, batch = row["protocol"].partition(":")[0], row["batch"]
        figures.setdefault((row["engine"], row["dtype"]), {})[f"{what} {batch}"] = row["value"]
    columns = [f"prediction {batch}" for batch in batches]
    columns += [f"largest error {batches[0]}", f"{FIRST_PREDICTION} 1", f"{PEAK_MEMORY} 1"]
    titles = [*(f"ms, batch {batch}" for batch in batches), "error", "start, s", "memory, MB"]
    lines = [f"| engine | precision | {' | '.join(titles)} |", "|" + "---|" * (2 + len(titles))]
    for names, found in sorted(figures.items(), key=lambda item: float(item[1].get(columns[0], "inf"))):
        cells = [found.get(column, "-") for column in columns]
        lines.append(f"| {' | '.join((*names, *cells))} |")
    return lines


def comparisons(rows: list[Row]) -> list[str]:
    """A line for each of the native precisions and batches: how many times as fast as the best rivals."""
    said: dict[str, list[str]] = {}
    for row in rows:
        if row["protocol"].startswith(TIMES_AS_FAST):
            number_class = row["protocol"].removeprefix(TIMES_AS_FAST).partition(":")[0]
            rival = row["protocol"].rpartition(", ")[2]
            start = f"- {row['engine']}, batch {row['batch']}: "
            said.setdefault(start, []).append(f"{float(row['value']):.2f} times as fast as {rival} ({number_class})")
    return [start + ", ".join(parts) for start, parts in said.items()]


def size(row: Row) -> str:
    """ "224 x 224 pixels" of "prediction: 224 x 224 pixels, ms a batch"."""
    return row["protocol"].rpartition(": ")[2].partition(",")[0]


def measured_on(rows: list[Row]) -> str:
    """The machines of the figures."""
    machines = sorted({f"{row['machine']}, {row['threads']} threads" for row in rows})
    return f"Measured on: {'; '.join(machines)}."


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
