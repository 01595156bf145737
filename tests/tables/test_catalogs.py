"""The two catalogues and the selection."""

import re
import warnings

import numpy as np
import pytest
from astropy.table import Table

from quasar_mass.core.errors import FileError, TableError
from quasar_mass.tables import catalogs
from quasar_mass.tables.build import selection

NEEDED = ("SDSS", "Plate", "MJD", "Fiber", "ZVI", "logMBH-Hb", "logMBH-Ha-2", "logMBH-MgII-2", "logMBH-CIV-2")


@pytest.fixture(scope="module")
def chen_rows(make) -> list[dict]:
    random = np.random.default_rng(5)
    rows = []
    for number in range(40):
        rows.append(
            {
                "SDSS": make.object_name(number),
                "Plate": 10000 + number if number % 3 == 0 else 3688 + number,
                "MJD": 55273 + 3 * number,
                "Fiber": 1 + 25 * number,
                "ZVI": round(float(random.uniform(0.01, 4.9)), 4),
                "zMgII": None if number % 4 else 1.5,
                "logMBH-Hb": 0.0 if number % 5 else 8.25,
                "logMBH-Ha-2": 0.0 if number % 7 else 9.99,
                "logMBH-MgII-2": round(float(random.uniform(7, 10.5)), 2),
                "logMBH-CIV-2": None if number % 6 == 0 else round(float(random.uniform(7, 10.5)), 2),
            }
        )
    return rows


@pytest.fixture
def chen(make, chen_rows, tmp_path):
    def write(change=lambda text: text, encoding="utf-8", **options):
        path = tmp_path / "apjsab41fet1_mrt.txt"
        path.write_bytes(change(make.chen_text(chen_rows, **options)).encode(encoding))
        return path

    return write


def assert_same_as_astropy(frame, path):
    oracle = Table.read(path, format="ascii.mrt")
    assert list(frame) == list(NEEDED)
    assert len(frame) == len(oracle)
    for name in NEEDED:
        expected = oracle[name]
        if name in ("SDSS", "Plate", "MJD", "Fiber"):
            assert frame[name].tolist() == expected.tolist()
        else:
            np.testing.assert_array_equal(frame[name], np.ma.filled(expected.astype(float), np.nan))


def test_chen_table_reads_as_astropy_reads_it(chen):
    path = chen()
    frame = catalogs.read_chen(path)
    assert_same_as_astropy(frame, path)
    assert frame["Plate"].dtype == frame["MJD"].dtype == frame["Fiber"].dtype == np.int64
    assert frame["Plate"].max() > 9999
    assert frame["logMBH-CIV-2"].isna().sum() == 7


DAMAGE = {
    "byte-order mark": lambda text: "\ufeff" + text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "trailing blanks": lambda text: text.replace("\n", "   \n"),
    "stripped lines": lambda text: "\n".join(line.rstrip() for line in text.split("\n")),
    "no final newline": lambda text: text.rstrip("\n"),
    "blank lines at the end": lambda text: text + "\n\n",
    "non-ASCII author": lambda text: text.replace("A. Author", "Ångström, Ö."),
    "labels spelled otherwise at the same bytes": lambda text: text.replace("logMBH", "log(MBH)"),
    "a column of one byte": lambda text: text.replace(
        "  91- 94 F4.2", "      89 A1     ---    Flag           A flag\n  91- 94 F4.2"
    ),
    "more rules among the notes": lambda text: text.replace("    A second", "-" * 80 + "\n    A second"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_chen_table_survives(chen, damage):
    clean = catalogs.read_chen(chen())
    damaged = catalogs.read_chen(chen(DAMAGE[damage]))
    assert damaged.equals(clean)


def test_chen_columns_at_other_bytes_are_refused(chen):
    path = chen(lambda text: text.replace(" 113-117 F5.2", " 112-116 F5.2"))
    with pytest.raises(TableError, match="no column at bytes 113-117, where logMBH-MgII-2 should be"):
        catalogs.read_chen(path)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        *(("MJD", "xxxxx"), ("Plate", "4.5"), ("logMBH-Ha-2", "9..9")),
        # Python reads these as numbers, but no table means them
        *(
            ("ZVI", "inf"),
            ("ZVI", "nan"),
            ("ZVI", "1.5_00"),
            ("Fiber", "-1"),
            ("Fiber", "0"),
            ("logMBH-CIV-2", "1e999"),
        ),
    ],
)
def test_chen_cell_that_is_not_a_number_names_its_line(chen, label, text):
    start, end = catalogs.CHEN_COLUMNS[label]

    def change(content):
        lines = content.split("\n")
        lines[-3] = lines[-3][: start - 1] + text.rjust(end - start + 1) + lines[-3][end:]
        return "\n".join([*lines[:-3], "", lines[-3], ""])  # the blank line counts

    path = chen(change)
    number = len(path.read_text().split("\n")) - 1
    with pytest.raises(FileError, match=rf"line {number}: has '{re.escape(text)}' for {label} in bytes {start}-{end}"):
        catalogs.read_chen(path)


def test_a_last_line_cut_within_a_number_is_not_another_number(chen):
    path = chen(lambda text: text.rstrip("\n")[:-1])
    with pytest.raises(FileError, match="its last line has 122 of 123 bytes"):
        catalogs.read_chen(path)


@pytest.mark.parametrize("content", [b"", b"SDSS,Plate,MJD\na,1,2\n", bytes(range(256)) * 40, b"-" * 80])
def test_a_file_that_is_no_machine_readable_table_is_refused(tmp_path, chen, chen_rows, content):
    path = tmp_path / "table.txt"
    path.write_bytes(content)
    with pytest.raises(FileError, match="not a machine-readable table"):
        catalogs.read_chen(path)
    with pytest.raises(FileError, match="no data rows"):
        catalogs.read_chen(chen(lambda text: text[: text.index(chen_rows[0]["SDSS"])]))


# --- DR16Q ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dr16q_rows(make):
    """Ten objects; 2 has one duplicate, 4 all 74 slots, 6 a hole, 7 a primary of SDSS-I."""
    full = tuple((7000 + slot, 57000, slot + 1) for slot in range(74))
    duplicates = {2: ((5000, 56500, 7),), 4: full, 6: ((0, 0, 0), (6001, 56600, 9), (-1, -1, -1))}
    return [
        make.dr16q_row(
            number,
            spectrum=(300 if number == 7 else 4000 + number, 56000, number + 1),
            duplicates=duplicates.get(number, ()),
        )
        for number in range(10)
    ]


def keys_of(*spectra):
    return catalogs.spectrum_key(*(np.array(part) for part in zip(*spectra, strict=True)))


def epochs_of(catalogue) -> set:
    names = catalogue.objects["SDSS_NAME"].tolist()
    return {(names[row], plate, mjd, fiber) for row, plate, mjd, fiber in catalogue.epochs.itertuples(index=False)}


def expected_epochs(rows, numbers) -> set:
    """By plain Python from what was written."""
    return {
        (rows[number]["SDSS_NAME"], *map(int, spectrum))
        for number in numbers
        for spectrum in (
            (rows[number]["PLATE"], rows[number]["MJD"], rows[number]["FIBERID"]),
            *rows[number]["duplicates"],
        )
        if spectrum[0] > 0
    }


def test_dr16q_object_is_found_by_primary_or_by_duplicate(make, dr16q_rows, tmp_path):
    path = make.dr16q(tmp_path / "q.fits", dr16q_rows)
    catalogue = catalogs.read_dr16q(path, keys_of((4001, 56000, 2), (5000, 56500, 7), (9999, 56000, 1)))
    assert epochs_of(catalogue) == expected_epochs(dr16q_rows, (1, 2))
    assert catalogue.objects["EBV"].to_numpy() == pytest.approx(0.02, rel=1e-6)
    assert catalogue.objects["RA"].tolist() == [1.0, 2.0]
    assert all(catalogue.objects[name].dtype.isnative for name in ("Z", "RA", "ZWARNING"))


@pytest.mark.parametrize("spectrum", [(4004, 56000, 5), (7000, 57000, 1), (7073, 57000, 74)])
def test_dr16q_object_with_all_74_slots_used_keeps_all_its_75_spectra(make, dr16q_rows, tmp_path, spectrum):
    path = make.dr16q(tmp_path / "q.fits", dr16q_rows)
    catalogue = catalogs.read_dr16q(path, keys_of(spectrum))
    assert len(catalogue.epochs) == 75
    assert epochs_of(catalogue) == expected_epochs(dr16q_rows, (4,))


@pytest.mark.parametrize("chunk", [1, 3, 11])
def test_dr16q_is_the_same_whatever_the_pieces_it_is_read_in(make, dr16q_rows, tmp_path, monkeypatch, chunk):
    path = make.dr16q(tmp_path / "q.fits", dr16q_rows)
    keys = keys_of(*((4000 + n, 56000, n + 1) for n in (0, 2, 3, 4, 9)))
    monkeypatch.setattr(catalogs, "_CHUNK", chunk)
    catalogue = catalogs.read_dr16q(path, keys)
    assert epochs_of(catalogue) == expected_epochs(dr16q_rows, (0, 2, 3, 4, 9))
    assert catalogue.objects["RA"].tolist() == [0.0, 2.0, 3.0, 4.0, 9.0]


@pytest.mark.parametrize("fiberid", [-1, 0])
def test_dr16q_slots_without_a_fibre_match_nothing(tmp_path, make, fiberid):
    """A negative number gave the same key for every plate."""
    rows = [make.dr16q_row(n, spectrum=(4000 + n, 56000, n), duplicates=((5000 + n, 56000, fiberid),)) for n in (1, 2)]
    catalogue = catalogs.read_dr16q(make.dr16q(tmp_path / "q.fits", rows), np.append(keys_of((4001, 56000, 1)), -1))
    assert catalogue.objects["SDSS_NAME"].tolist() == [make.object_name(1)]
    assert len(catalogue.epochs) == 1


@pytest.mark.parametrize("impossible", [(405209088, 58000, 998), (5000, 1 << 20, 1), (5000, 56000, 10_000)])
def test_dr16q_with_an_impossible_spectrum_is_refused(tmp_path, make, impossible):
    rows = [make.dr16q_row(1, spectrum=(4001, 56000, 1), duplicates=(impossible,))]
    with pytest.raises(FileError, match="a spectrum {}-{}-{}".format(*impossible)):
        catalogs.read_dr16q(make.dr16q(tmp_path / "q.fits", rows), keys_of((4001, 56000, 1)))


def test_dr16q_with_a_column_missing_twice_or_of_another_type_is_refused(tmp_path, make, dr16q_rows):
    for name in ("Z", "PLATE_DUPLICATE", "EXTINCTION", "SDSS_NAME"):
        with pytest.raises(TableError, match=rf"has no {name}\b"):
            catalogs.read_dr16q(make.dr16q(tmp_path / "q.fits", dr16q_rows, drop=(name,)), np.array([1]))
    path = make.dr16q(tmp_path / "q.fits", dr16q_rows)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"TTYPE8  = 'THING_ID", b"TTYPE8  = 'Z       "))
    with pytest.raises(TableError, match="has 2 Z"):
        catalogs.read_dr16q(path, np.array([1]))


def test_truncated_and_foreign_files_are_no_dr16q(make, dr16q_rows, tmp_path):
    path = make.dr16q(tmp_path / "q.fits", dr16q_rows)
    content = path.read_bytes()
    damaged = [content[: int(fraction * len(content))] for fraction in (0, 0.02, 0.1, 0.5, 0.8)]
    damaged += [b"this is not FITS\n" * 500, make.spec(tmp_path / "one.fits", hdus=1).read_bytes()]
    for some in damaged:
        path.write_bytes(some)
        with warnings.catch_warnings(record=True) as leaked:
            warnings.simplefilter("always")
            with pytest.raises(FileError, match=r"binary table in HDU 1|bytes instead of"):
                catalogs.read_dr16q(path, np.array([1]))
        assert leaked == []


# --- the selection ----------------------------------------------------------------------------------------------------


class Catalogues:
    """Hand-made rows of both catalogues."""

    def __init__(self, make):
        self.make, self.chen, self.dr16q = make, [], []

    def add(
        self, number, *, spectrum=None, measured=None, zvi=None, z=1.6, duplicates=(), listed=True, masses=None, **more
    ):
        spectrum = spectrum or (4000 + number, 56000, number)
        if listed:
            self.dr16q.append(self.make.dr16q_row(number, spectrum=spectrum, z=z, duplicates=duplicates, **more))
        self.measure(number, measured or spectrum, z if zvi is None else zvi, masses)

    def measure(self, number, spectrum, zvi, masses=None):
        row = dict(zip(("Plate", "MJD", "Fiber"), spectrum, strict=True))
        masses = {"logMBH-MgII-2": 8.0 + number / 100} if masses is None else masses
        self.chen.append({"SDSS": self.make.object_name(number), "ZVI": zvi} | row | masses)

    def select(self, folder):
        (folder / "chen.txt").write_text(self.make.chen_text(self.chen))
        table = catalogs.read_chen(folder / "chen.txt")
        return selection.select(table, self.make.dr16q(folder / "q.fits", self.dr16q))


@pytest.fixture
def both(make):
    """Twenty-four ordinary quasars, numbers 1-24, whose ZVI - Z is +-0.001."""
    both = Catalogues(make)
    for number in range(1, 25):
        both.add(number, zvi=1.6 + 0.001 * (-1) ** number)
    return both


def test_each_cut_leaves_what_it_should(both, make, tmp_path):
    both.measure(1, (4001, 56000, 1), 1.6, {"logMBH-MgII-2": 9.9})  # the same spectrum again
    both.add(30, masses={})  # no mass
    both.add(31, listed=False)  # not in DR16Q
    both.measure(2, (4002, 56001, 2), 1.6, {"logMBH-MgII-2": 9.9})  # right plate and fiber, another night
    both.add(32, duplicates=((8000, 57000, 5),))
    both.measure(32, (8000, 57000, 5), 1.6, {"logMBH-MgII-2": 9.9})  # a second spectrum of object 32
    both.add(33, ZWARNING=4)
    both.add(34, z=1.2)  # lower end: in
    both.add(35, z=1.8)  # upper end: out
    both.add(36, z=1.19999)
    both.add(37, z=1.79999)
    both.add(38, zvi=1.8)  # too far off on one side
    both.add(39, zvi=1.4)  # and on the other
    selection = both.select(tmp_path)
    assert [(cut["cut"], cut["objects"]) for cut in selection.cuts] == [
        ("rows of the Chen+ 2019 table", 37),
        ("one row per spectrum", 36),
        ("a mass from Hb, Ha, Mg II or C IV", 35),
        ("spectrum among the DR16Q primary and duplicate spectra", 33),
        ("one label per DR16Q object", 32),
        ("ZWARNING = 0", 31),
        ("1.2 <= Z < 1.8", 29),
        ("|ZVI - Z| within 3 sd", 27),
    ]
    left = {make.object_name(number) for number in (*range(1, 25), 32, 34, 37)}
    assert set(selection.quasars.index) == left
    assert selection.quasars.index.is_monotonic_increasing
    assert selection.quasars.loc[make.object_name(1), "LMBH"] == 8.01  # the first row counts
    assert selection.quasars.loc[make.object_name(32), "LMBH"] == 8.32


@pytest.mark.parametrize(
    ("masses", "label", "line"),
    [
        ((8.1, 8.2, 8.3, 8.4), 8.1, "Hb"),
        ((0, 8.2, 8.3, 8.4), 8.2, "Ha"),
        ((0, 0, 8.3, 8.4), 8.3, "MgII"),
        ((0, 0, 0, 8.4), 8.4, "CIV"),
        ((8.1, 0, 0, 8.4), 8.1, "Hb"),
        ((None, None, 0, 8.4), 8.4, "CIV"),
        ((None, 8.2, None, 8.4), 8.2, "Ha"),
    ],
)
def test_label_is_the_first_mass_that_was_measured(both, make, tmp_path, masses, label, line):
    names = ("logMBH-Hb", "logMBH-Ha-2", "logMBH-MgII-2", "logMBH-CIV-2")
    both.add(50, masses=dict(zip(names, masses, strict=True)))
    row = both.select(tmp_path).quasars.loc[make.object_name(50)]
    assert (row["LMBH"], row["LABEL_LINE"]) == (label, line)
    assert [row[name] for name in names] == [mass or 0.0 for mass in masses]


def test_quasars_carry_what_the_catalogue_knows(both, make, tmp_path):
    both.add(
        70, z=1.61, EXTINCTION=np.array([9, 0.3303, 9, 9, 9.0]), BAL_PROB=0.75, SN_MEDIAN_ALL=3.25, RA=12.5, DEC=-7.5
    )
    both.add(71, EXTINCTION=np.zeros(5))
    quasars = both.select(tmp_path).quasars
    row = quasars.loc[make.object_name(70)]
    assert row["EBV"] == pytest.approx(0.1, rel=1e-6)
    assert [row[name] for name in ("Z", "BAL_PROB", "SN_MEDIAN_ALL", "RA", "DEC")] == [1.61, 0.75, 3.25, 12.5, -7.5]
    assert np.isnan(quasars.loc[make.object_name(71), "EBV"])  # no photometry, not no dust


def test_a_cut_that_leaves_nothing_is_named(both, tmp_path):
    for row in both.dr16q:
        row["ZWARNING"] = 1
    with pytest.raises(TableError, match="none of 24 objects is left after the cut 'ZWARNING = 0'"):
        both.select(tmp_path)
    for row in both.dr16q:
        row["PLATE"] += 1
    with pytest.raises(TableError, match="the cut 'spectrum among the DR16Q"):
        both.select(tmp_path)
