"""What a table leaves: table.json, table.csv and table.html, from the same rows; and the table as a DataFrame."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from evoens.errors import CheckpointError, EvoensError
from evoens.storage.files import write_atomic
from evoens.storage.json_file import read_json

if TYPE_CHECKING:
    import pandas as pd

TABLE = "table"
FORMAT = 1


class _Row(TypedDict):
    label: str
    scores: dict[str, Any]
    differences: dict[str, Any]
    cost: dict[str, Any]


class Written(TypedDict):
    """What of table.json is read."""

    format: int
    name: str
    measures: list[dict[str, Any]]
    rows: list[_Row]


def write_table(folder: Path, table: Mapping[str, Any]) -> None:
    """Write table.json and table.csv."""
    write_atomic(folder / f"{TABLE}.json", json.dumps(table, indent=1) + "\n")
    rows = flat(table)
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(folder / f"{TABLE}.csv", text.getvalue())


def read_table(path: Path) -> dict[str, Any]:
    """Return what table.json of a table's folder holds.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    file = path / f"{TABLE}.json" if path.is_dir() else path
    found = read_json(file, "a table", Written)
    if found["format"] != FORMAT:
        raise CheckpointError(f"{file}: expected format {FORMAT}, found {found['format']}")
    return found


def flat(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each method, its figures side by side.

    Of each measure the mean over seeds, its standard deviation, and the difference to the baseline with its 95 %
    interval; then diversity and cost.
    """
    return [_flat(row, [measure["name"] for measure in table["measures"]]) for row in table["rows"]]


def _flat(row: Mapping[str, Any], measures: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"label": row["label"], "method": row["method"], "seeds": len(row["seeds"])}
    found["members"] = row["size"]
    for name in measures:
        own, less = row["scores"][name], row["differences"].get(name, {})
        low, high = less.get("ci95", (None, None))
        found |= {name: own["mean"], f"{name}_sd": own["sd"], f"{name}_difference": less.get("score")}
        found |= {f"{name}_difference_low": low, f"{name}_difference_high": high}
    return found | dict(row["diversity"]) | dict(row["cost"])


def table(path: str | Path) -> pd.DataFrame:
    """Return a table as a pandas DataFrame, a row for each method; `path` is its folder, or its table.json.

    Raises:
        CheckpointError: there is no table.
        EvoensError: pandas is not installed.
    """
    rows = flat(read_table(Path(path)))
    try:
        import pandas as pd  # noqa: PLC0415 (nobody else needs it)
    except ImportError as error:
        raise EvoensError("expected the package pandas, found none: pip install pandas") from error
    empty = float("nan")
    return pd.DataFrame([{k: empty if v is None else v for k, v in row.items()} for row in rows]).set_index("label")
