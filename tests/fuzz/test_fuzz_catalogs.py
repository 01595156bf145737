"""The two catalogues, damaged in every way: what is read is what stands there, or nothing; what is kept is a survey."""

import io
import re
import shutil
import warnings

import numpy as np
import pytest
import watch
from astropy.io import fits
from hypothesis import strategies as st
from mutations import SHARES, WORDS, Case, Mutation, damage, either, fits_damage

from quasar_mass.core.survey import LABEL_COLUMNS, Survey
from quasar_mass.tables.build.selection import select
from quasar_mass.tables.catalogs import read_chen, read_dr16q, spectrum_key

BYTES = {"SDSS": (1, 18), "Plate": (20, 24), "MJD": (26, 30), "Fiber": (32, 35), "ZVI": (37, 42), "logMBH-Hb": (91, 94)}
BYTES |= {"logMBH-Ha-2": (108, 111), "logMBH-MgII-2": (113, 117), "logMBH-CIV-2": (119, 123)}
CELLS = (
    "nan",
    "inf",
    "-1",
    "1_0",
    "9e99",
    "1e999",
    "0x10",
    "",
    "7.",
    ".5",
    "+8.1",
    "1e1",
    "٣",
    "\x00",
    "..",
    "True",
    "1,5",
)


@pytest.fixture(scope="module")
def survey(_tiny_original, tmp_path_factory) -> Survey:
    return Survey(shutil.copytree(_tiny_original, tmp_path_factory.mktemp("catalogs") / "survey"))


@st.composite
def _line(draw) -> Mutation:
    kind = draw(st.sampled_from(["drop", "again", "exchange", "cell", "cell", "cell", "cut", "word", "columns"]))
    share, other = draw(SHARES), draw(SHARES)
    label, text, word = draw(st.sampled_from(list(BYTES))), draw(st.sampled_from(CELLS)), draw(st.sampled_from(WORDS))

    def apply(content: bytes) -> bytes:
        lines = content.split(b"\n")
        if len(lines) < 30:
            return content
        row, to = int(share * len(lines)), int(other * len(lines))
        if kind == "drop":
            del lines[row]
        elif kind == "again":
            lines.insert(to, lines[row])
        elif kind == "exchange":
            lines[row], lines[to] = lines[to], lines[row]
        elif kind == "cut":
            lines[row] = lines[row][: int(other * 130)]
        elif kind == "word":
            lines[row] = (
                lines[row][: int(other * 130)] + word.encode("utf-8", "replace") + lines[row][int(other * 130) :]
            )
        else:
            row = max(row, 23)
            start, end = BYTES[label]
            if kind == "cell":
                cell = text.rjust(end - start + 1)[: end - start + 1].encode("utf-8")
                lines[row] = lines[row][: start - 1] + cell + lines[row][end:]
            else:
                lines = [line[:112] + line[118:123] + b" " + line[112:117] + line[123:] for line in lines]
        return b"\n".join(lines)

    return Mutation(f"line({kind}, {share}, {other}, {label}, {text!r}, {word!r})", apply)


def stands_there(content: bytes) -> dict[str, list]:
    """The table cell by cell, by its published bytes alone."""
    lines = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    rules = [number for number, line in enumerate(lines[:2000]) if re.fullmatch(rb"\s*(-{6,}|={7,})\s*", line)]
    rows = [line.ljust(130) for line in lines[rules[-1] + 1 :] if line.strip()]
    return {
        label: [row[start - 1 : end].strip(b" \t\x00\r\x0b\x0c") for row in rows]
        for label, (start, end) in BYTES.items()
    }


@pytest.mark.parametrize("examples", [120, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_damaged_chen_table_is_read_as_it_stands_or_refused(survey, tmp_path, examples):
    path, content = tmp_path / "chen.txt", survey.chen.read_bytes()
    some = either(_line(), _line(), _line(), damage())
    cases = either(st.tuples(some), st.tuples(some, some)).flatmap(lambda damages: st.just(Case(content, damages)))

    def check(case: Case) -> None:
        changed = case.damaged()
        path.write_bytes(changed)
        table = watch.attempt("Chen+ tables", lambda: read_chen(path))
        if table is None:
            return
        cells = stands_there(changed)
        for label in BYTES:
            assert len(table) == len(cells[label])
            for found, cell in zip(table[label], cells[label], strict=True):
                if label == "SDSS":
                    assert found == cell.decode("ascii")
                elif cell == b"":
                    assert np.isnan(found)
                else:
                    assert found == float(cell)
                    assert np.isfinite(found)
        assert (table[["Plate", "MJD", "Fiber"]] > 0).all(axis=None)
        watch.note("Chen+ tables", "unchanged" if changed == content else "as it stands")

    watch.fuzz(check, cases, examples)


@pytest.mark.parametrize("examples", [80, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_damaged_dr16q_is_read_as_astropy_reads_it_or_refused(survey, tmp_path, examples):
    content, path = survey.dr16q.read_bytes(), tmp_path / "DR16Q_v4.fits"
    chen = read_chen(survey.chen)
    wanted = spectrum_key(chen["Plate"], chen["MJD"], chen["Fiber"])
    asked = set(zip(chen["Plate"].tolist(), chen["MJD"].tolist(), chen["Fiber"].tolist(), strict=True))

    def check(case: Case) -> None:
        changed = case.damaged()
        path.write_bytes(changed)
        catalogue = watch.attempt("DR16Q", lambda: read_dr16q(path, wanted))
        if catalogue is None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(changed), memmap=False) as hdus:
                rows = hdus[1].data
        owners = []
        for row in rows:
            one = [np.append(row[key], row[f"{key}_DUPLICATE"]).tolist() for key in ("PLATE", "MJD", "FIBERID")]
            its = [spectrum for spectrum in zip(*one, strict=True) if min(spectrum) > 0]
            if asked & set(its):
                owners.append((row, its))
        assert len(catalogue.objects) == len(owners)
        for (_, found), (row, _) in zip(catalogue.objects.iterrows(), owners, strict=True):
            name = row["SDSS_NAME"]
            assert found["SDSS_NAME"] == (name.decode("latin-1") if isinstance(name, bytes) else str(name)).strip()
            for name in ("RA", "DEC", "Z", "ZWARNING", "BAL_PROB", "SN_MEDIAN_ALL"):
                assert found[name] == row[name] or np.isnan([found[name], row[name]]).all()
        its = [(number, *spectrum) for number, (_, spectra) in enumerate(owners) for spectrum in dict.fromkeys(spectra)]
        assert [tuple(one) for one in catalogue.epochs[["row", "plate", "mjd", "fiberid"]].to_numpy().tolist()] == its
        watch.note("DR16Q", "unchanged" if changed == content else "as astropy")
        selection = watch.attempt("selections", lambda: select(chen, path))
        if selection is not None:
            sound(selection)

    watch.fuzz(check, fits_damage(content), examples)


def sound(selection) -> None:
    """What was selected keeps the contract of the tables."""
    quasars, epochs = selection.quasars, selection.epochs
    assert quasars.index.is_unique
    assert set(epochs["OBJECT"]) == set(quasars.index)
    assert not epochs.duplicated(["plate", "mjd", "fiberid"]).any()
    assert np.isfinite(quasars[["LMBH", "Z", "ZVI", *LABEL_COLUMNS]]).all(axis=None)
    assert quasars["Z"].between(1.2, 1.8).all()
    for epoch in epochs["EPOCH"]:
        assert re.fullmatch(r"\d{4,5}-\d{5,7}-\d{4,5}", epoch)
