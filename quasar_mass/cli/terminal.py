"""Tables of masses on a terminal: a row a spectrum, with flags and reasons whole."""

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MAX_PRINTED, MAX_WIDTH, MAX_FILE_NAME = 50, 160, 40  # rows and characters of a table on a terminal
MIN_WIDTH = 40  # of its flags and reasons
PRINTING = {"float_format": lambda value: f"{value:.3f}", "na_rep": "-"}
ONLY_IN_FILES = ("N_SPIKES", "SEEN_CIV", "SEEN_CIII", "SEEN_MgII")  # on a terminal they would cost the flags' room
ONE = {"rows": "row", "more rows": "more row", "spectra": "spectrum", "objects": "object"}


def count(number: int, what: str) -> str:
    """``1 spectrum``, ``2 spectra``."""
    return f"{number:,} {ONE[what] if number == 1 else what}"


def print_rows(table: "pd.DataFrame", what: str) -> None:
    """Print the first rows of a table of masses and, on standard error, how many have no mass."""
    from quasar_mass.predict.mass_table import count_reasons  # here: `--help` needs no pandas

    shown = table.head(MAX_PRINTED).drop(columns=[name for name in ONLY_IN_FILES if name in table])
    if "OBJECT" in shown and (shown["OBJECT"] == "").all():
        shown = shown.drop(columns="OBJECT")
    if "FILE" in shown:
        shown["FILE"] = [Path(name).name[-MAX_FILE_NAME:] for name in shown["FILE"].fillna("")]
    print(_wrapped(shown))
    if len(table) > len(shown):
        print(f"... {count(len(table) - len(shown), 'more rows')}; --output FILE writes all")
    without = int(table["LMBH"].isna().sum())
    if 0 < without < len(table):  # where none has one, `check_usable` says why
        print(f"{without:,} of {len(table):,} {what} have no mass: {count_reasons(table)}", file=sys.stderr)


def _wrapped(table: "pd.DataFrame") -> str:
    """A table as text, with reasons and flags behind the numbers, on further lines where one is too short for them."""
    first, *numbers = table.drop(columns=["FLAGS", "REASON"]).to_string(index=False, **PRINTING).split("\n")
    width = max(MAX_WIDTH - len(first) - 2, MIN_WIDTH)
    lines = [f"{first}  FLAGS or REASON"]
    for row, *words in zip(numbers, table["REASON"], table["FLAGS"], strict=True):
        begin, *more = textwrap.wrap("; ".join(filter(None, words)), width) or [""]
        lines += [f"{row}  {begin}".rstrip(), *(f"{'':<{len(first)}}  {line}" for line in more)]
    return "\n".join(lines)
