"""The tables of results in the README and in docs/, made from the rows of results/*.csv: `python benchmarks/tables.py`.

A table stands between the comments <!-- results: accuracy.csv --> and <!-- end -->. Of rows that are the same figure,
measured again, the last one counts (`condition`). Rows of a model's file that was replaced since do not count.
"""

import csv
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SECTION = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
PAGES = (REPOSITORY / "README.md", REPOSITORY / "docs" / "concepts" / "serving.md")
ROOFLINE = REPOSITORY / "docs" / "pictures" / "roofline.svg"
# The quantities of `verydeep bench`, as its rows call them.
FIRST_PREDICTION, PEAK_MEMORY = "start to first prediction, not the first start", "peak memory of a process"
TIMES_AS_FAST = "times as fast as the best rival in "
OF_THE_MEASUREMENT = ("date", "commit", "versions", "n", "value", "spread")

_MANY_PHOTOS = 5000  # of an accuracy: its hundredths of a per cent say something

Row = dict[str, str]


def main() -> None:
    for page in PAGES:
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """The text with every table made anew."""

    def section(found: re.Match[str]) -> str:
        rows = read(RESULTS / found[2])
        if not rows:
            return f"{found[1]}<not measured yet>\n{found[3]}"
        made = soak(rows) if found[2] == "soak.csv" else MAKERS.get(found[2], table)(latest(rows))
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
    return list({condition(row): row for row in rows if row["model"] == files[model(row)]}.values())


def condition(row: Row) -> tuple[str, ...]:
    """What two measurements of the same figure have in common.

    Not in common are its unit, the sum of its model's file, and what `OF_THE_MEASUREMENT` names; nor, of a recipe's
    figures, the network and the size, which change with the recipe.
    """
    what, inputs, _ = parts(row["protocol"])
    changing = {*OF_THE_MEASUREMENT, "model", "protocol"}
    if "of recipe " in what:
        inputs = ""
        changing.add("architecture")
    return (what, inputs, model(row), *(row[name] for name in row if name not in changing))


def parts(protocol: str) -> tuple[str, str, str]:
    """ "prediction: 224 x 224 pixels, ms a batch" -> the quantity, the inputs, and the unit or the rival.

    That of an accuracy is all quantity.
    """
    if protocol.startswith("top-"):
        return protocol, "", ""
    what, _, rest = protocol.rpartition(": ")
    inputs, _, unit = rest.rpartition(", ")
    return what, inputs, unit


def table(rows: list[Row]) -> str:
    """Markdown: for each machine and number of threads a table, and below it what it was measured on."""
    machines: dict[str, list[Row]] = {}
    for row in rows:
        machines.setdefault(f"{row['machine']}, {threads(row)}", []).append(row)
    return "\n".join(f"{machine_table(members)}\nMeasured on: {name}.\n" for name, members in machines.items())


def machine_table(rows: list[Row]) -> str:
    """A line for each row."""
    lines = ["| what | model | network | engine | figure | spread | n |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        figure, low, high = (in_its_unit(text, row) for text in (row["value"], *row["spread"].split("..")))
        what = (row["protocol"], model(row), row["architecture"], engine(row))
        cells = (*what, f"**{figure}**", f"{low} to {high}", row["n"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def engines(rows: list[Row]) -> str:
    """`verydeep bench`: a table for each network, input and machine, and the roofline where it was drawn."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        network = row["architecture"]
        name = f"{network} with random weights" if row["model"] == "-" else f"{model(row)} ({network})"
        title = ", ".join([name, parts(row["protocol"])[1], threads(row), f"on {row['machine']}"])
        groups.setdefault(title, []).append(row)
    lines = []
    for title, members in groups.items():
        lines += [f"{title}:", "", *engine_table(members), "", *comparisons(members), ""]
    if ROOFLINE.exists():
        place = ROOFLINE.relative_to(REPOSITORY).as_posix()
        lines += [f"![The layers of the native engine beside what the machine can do at most]({place})", ""]
    return "\n".join(lines)


def engine_table(rows: list[Row]) -> list[str]:
    """A line for each engine and precision, the fastest first: time and memory at each batch, error and start."""
    figures: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        column = f"{parts(row['protocol'])[0]} {row['batch']}"
        figures.setdefault((row["engine"], row["dtype"]), {})[column] = row["value"]
    batches = sorted({int(row["batch"]) for row in rows if parts(row["protocol"])[0] == "prediction"}) or [1]
    columns = [f"prediction {batch}" for batch in batches]
    columns += [f"largest error {batches[0]}", f"{FIRST_PREDICTION} 1"]
    columns += [f"{PEAK_MEMORY} {batch}" for batch in batches]
    titles = [*(f"ms, batch {batch}" for batch in batches), "error", "start, s"]
    titles += [f"MB, batch {batch}" for batch in batches]
    lines = [f"| engine | precision | {' | '.join(titles)} |", "|" + "---|" * (2 + len(titles))]
    for names, found in sorted(figures.items(), key=lambda item: float(item[1].get(columns[0], "inf"))):
        cells = [found.get(column, "-") for column in columns]
        lines.append(f"| {' | '.join((*names, *cells))} |")
    return lines


def comparisons(rows: list[Row]) -> list[str]:
    """A line for each of the native precisions and batches: how many times as fast as the best rivals."""
    said: dict[str, list[str]] = {}
    for row in rows:
        what, _, rival = parts(row["protocol"])
        if what.startswith(TIMES_AS_FAST):
            start = f"- {row['engine']}, batch {row['batch']}: "
            number_class = what.removeprefix(TIMES_AS_FAST)
            said.setdefault(start, []).append(f"{float(row['value']):.2f} times as fast as {rival} ({number_class})")
    return [start + ", ".join(words) for start, words in said.items()]


def serving(rows: list[Row]) -> str:
    """What the service carries: for each model and machine a table."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        title = f"{model(row)} ({row['architecture']}), {row['engine']}, {threads(row)}, on {row['machine']}"
        groups.setdefault(title, []).append(row)
    lines = []
    for title, members in groups.items():
        lines += [f"{title}:", "", "| what | figure | spread | n |", "|---|---|---|---|"]
        for row in members:
            spread = row["spread"].replace("..", " to ")
            lines.append(f"| {row['protocol'].partition(';')[0]} | **{row['value']}** | {spread} | {row['n']} |")
        lines.append("")
    return "\n".join(lines)


def soak(rows: list[Row]) -> str:
    """A line for each promise: what `make soak` did last and found, and which planted faults it noticed."""
    tests: dict[str, dict[str, Row]] = {}  # test -> fault -> the last row of it
    for row in (row for row in rows if row["machine"] == rows[-1]["machine"]):
        tests.setdefault(row["test"].partition("[")[0], {})[row["fault"]] = row
    lines = ["| row | promise | done here | found | faults noticed |", "|---|---|---|---|---|"]
    whole = (found for found in tests.values() if "" in found)
    for found in sorted(whole, key=lambda found: _row_number(found[""]["row"])):
        row = found[""]
        result = f"**{row['outcome']}** in {float(row['seconds']):.0f} s; {row['measured']}"
        faults = ", ".join(
            fault if row["outcome"] == "passed" else f"**not** {fault}" for fault, row in found.items() if fault
        )
        lines.append(f"| {row['row']} | {row['goal']} | {row['here']} | {result} | {faults} |")
    return "\n".join([*lines, "", f"Measured on: {rows[-1]['machine']}.", ""])


def _row_number(name: str) -> tuple[str, int]:
    """ "S11, S14" -> ("S", 11)."""
    return name[0], int(name.partition(",")[0][1:])


def threads(row: Row) -> str:
    return f"{row['threads']} {'thread' if row['threads'] == '1' else 'threads'}"


def model(row: Row) -> str:
    """Its name, without the sum of its file; of fused models all names: "one + other"."""
    return re.sub(r" sha256:\w+", "", row["model"])


def engine(row: Row) -> str:
    """What ran the network, and how: "torch, float32, batch 32"."""
    return ", ".join(text for text in (row["engine"], row["dtype"], f"batch {row['batch']}") if text != "-")


def in_its_unit(value: str, row: Row) -> str:
    """Accuracies are stored as a share of 1 and shown in per cent; other figures have their unit in the protocol."""
    if not row["protocol"].startswith("top-"):
        return value
    return f"{float(value):.{2 if int(row['n']) >= _MANY_PHOTOS else 1}%}"


MAKERS = {"engines.csv": engines, "serving.csv": serving}


if __name__ == "__main__":
    main()
