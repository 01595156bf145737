"""Writers of a spectrum as a table, one for each format: columns, the units of some, and what else there is to say.

They use astropy, NumPy and plain text, and nothing of the package.
"""

import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table


def csv(path, columns, stated, said, delimiter=","):
    names = [f"{name} [{stated[name]}]" if name in stated else name for name in columns]
    lines = [f"# {key} = {value}" for key, value in said.items()] + [delimiter.join(names)]
    lines += [delimiter.join(repr(float(value)) for value in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def semicolons(path, columns, stated, said):
    csv(path, columns, stated, said, delimiter="; ")


def tabs(path, columns, stated, said):
    csv(path, columns, stated, said, delimiter="\t")


def blanks(path, columns, stated, said):
    csv(path, columns, stated, said, delimiter="   ")


def savetxt(path, columns, stated, said):
    names = [f"{name} ({stated[name]})" if name in stated else name for name in columns]
    header = "\n".join([*(f"{key}: {value}" for key, value in said.items()), "  ".join(names)])
    np.savetxt(path, np.column_stack(list(columns.values())), header=header)


def units_below(path, columns, stated, said):
    lines = [f"# {key} = {value}" for key, value in said.items()]
    lines += [",".join(columns), ",".join(stated.get(name, "") for name in columns)]
    lines += [",".join(repr(float(value)) for value in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines), encoding="utf-8")


def table_of(columns, stated, said):
    table = Table({name: MaskedColumn(values, unit=stated.get(name)) for name, values in columns.items()})
    table.meta.update(said)
    return table


def ecsv(path, columns, stated, said):
    with warnings.catch_warnings(action="ignore"):
        table_of(columns, stated, said).write(path, format="ascii.ecsv")


def fits_rows(path, columns, stated, said):
    made = [fits.Column(name, "D", array=values, unit=stated.get(name)) for name, values in columns.items()]
    table = fits.BinTableHDU.from_columns(made)
    for key, value in said.items():
        table.header["EBV" if key.startswith("E(") else key.upper()] = value
    table.writeto(path)


def fits_vectors(path, columns, stated, said):
    made = [
        fits.Column(name, f"{len(values)}D", array=values[np.newaxis], unit=stated.get(name))
        for name, values in columns.items()
    ]
    primary = fits.PrimaryHDU()
    for key, value in said.items():
        primary.header["EBV" if key.startswith("E(") else key.upper()] = value
    fits.HDUList([primary, fits.BinTableHDU.from_columns(made)]).writeto(path)


def fits_variable(path, columns, stated, said):
    def one(values):
        cell = np.empty(1, object)
        cell[0] = values
        return cell

    made = [fits.Column(name, "PD()", array=one(values), unit=stated.get(name)) for name, values in columns.items()]
    made += [fits.Column("EBV" if key.startswith("E(") else key, "D", array=[value]) for key, value in said.items()]
    fits.BinTableHDU.from_columns(made).writeto(path)


def votable(path, columns, stated, said):
    def unit(name):
        return f' unit="{stated[name]}"' if name in stated else ""

    fields = "".join(f'<FIELD name="{name}" datatype="double"{unit(name)}/>' for name in columns)
    params = "".join(f'<PARAM name="{key}" datatype="double" value="{value}"/>' for key, value in said.items())
    rows = "".join(
        f"<TR>{''.join(f'<TD>{float(value)!r}</TD>' for value in row)}</TR>"
        for row in zip(*columns.values(), strict=True)
    )
    path.write_text(
        f'<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>{params}'
        f"<TABLE>{fields}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>",
        encoding="utf-8",
    )


def npz(path, columns, stated, said):
    named = {f"{name}_unit": unit for name, unit in stated.items()}
    np.savez(path, **columns, **named, **{"ebv" if key.startswith("E(") else key: value for key, value in said.items()})


FORMATS = {
    "csv": csv,
    "tsv": tabs,
    "semicolons.csv": semicolons,
    "txt": blanks,
    "dat": savetxt,
    "units.csv": units_below,
    "ecsv": ecsv,
    "fits": fits_rows,
    "vectors.fits": fits_vectors,
    "variable.fits": fits_variable,
    "vot": votable,
    "npz": npz,
}


def write(folder: Path, ending: str, columns: dict, stated: dict | None = None, **said) -> Path:
    """Write ``J0001.ENDING``; `stated` are units by column, `said` are keys such as ``z``."""
    path = folder / f"J0001.{ending}"
    FORMATS[ending](path, columns, stated or {}, said)
    return path
