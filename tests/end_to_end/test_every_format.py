"""One quasar in every format: the commands and Python give the same mass and interval as for its spec file."""

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.nddata import InverseVariance
from spectrum_tables import FORMATS, write

import quasar_mass as qm
from quasar_mass import virial
from quasar_mass.cli import quasar_analysis
from quasar_mass.core.survey import Survey
from quasar_mass.simulation.simulated_survey import simulate

MASS, WIDTH = 0.02, 0.05  # dex; relative
JY = 1e-17 / 2.99792458e18 / 1e-23  # of a flux in 1e-17 erg / s / cm2 / Angstrom, over Angstrom^2


@pytest.fixture(scope="module")
def quasar(tmp_path_factory):
    """The file of a simulated quasar, and its spectrum."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate(Survey(folder), objects=12, seed=5, quiet=True)
    for path in sorted((folder / "spectra").glob("*/*.fits")):
        spectrum = qm.read(path)
        if 1.5 < spectrum.redshift < 1.8 and np.median(spectrum.flux * np.sqrt(spectrum.ivar)) > 5:
            return path, spectrum
    raise LookupError("no bright quasar")


@pytest.fixture(scope="module")
def written(quasar, tmp_path_factory):
    """The same spectrum in every format, by format; some of them in other units."""
    _, spectrum = quasar
    ivar = np.where(spectrum.mask, 0.0, spectrum.ivar)
    said = {"z": spectrum.redshift, "E(B-V)": spectrum.ebv}
    columns = {"wavelength": spectrum.wavelength, "flux": spectrum.flux, "ivar": ivar}
    to_mjy = JY * spectrum.wavelength**2 * 1e3
    other = {"lam": spectrum.wavelength / 10, "flux": spectrum.flux * to_mjy, "ivar": ivar / to_mjy**2}
    files = {}
    for ending in FORMATS:
        folder = tmp_path_factory.mktemp("format")
        files[ending] = write(folder, ending, columns, **said)
        files[f"{ending}, nm and mJy"] = write(folder / "..", ending, other, {"lam": "nm", "flux": "mJy"}, **said)
        files[f"{ending}, nm and mJy"] = files[f"{ending}, nm and mJy"].rename(folder / f"mJy.{ending}")
    files["gz"] = files["csv"].with_name("packed.csv.gz")
    files["gz"].write_bytes(gzip.compress(files["csv"].read_bytes()))
    return files


def table_of(tmp_path, verb, files) -> pd.DataFrame:
    output = tmp_path / f"{verb}.parquet"
    assert quasar_analysis.main([verb, *map(str, files), "--output", str(output), "--quiet"]) == 0
    table = pd.read_parquet(output)
    assert table["LMBH"].notna().all(), table["REASON"].tolist()
    return table


def test_the_network_gives_one_mass_and_one_interval(tmp_path, quasar, written):
    table = table_of(tmp_path, "predict", [quasar[0], *written.values()])
    difference = (table["LMBH"] - table["LMBH"][0]).abs()
    width = table["LMBH_HIGH"] - table["LMBH_LOW"]
    print(f"\nlargest difference {difference.max():.5f} dex, of widths {(width / width[0] - 1).abs().max():.5f}")
    assert difference.max() < MASS
    assert (width / width[0] - 1).abs().max() < WIDTH
    assert table["SN"].to_numpy() == pytest.approx(table["SN"][0], rel=1e-3)
    for name, flags in zip(written, table["FLAGS"][1:], strict=True):
        assert ("units assumed" in flags) == ("mJy" not in name), name


def test_the_classical_fit_gives_one_mass(tmp_path, quasar, written):
    table = table_of(tmp_path, "virial", [quasar[0], *written.values()])
    print(f"\nlargest difference {(table['LMBH'] - table['LMBH'][0]).abs().max():.5f} dex")
    assert (table["LMBH"] - table["LMBH"][0]).abs().max() < MASS


def test_python_takes_arrays_spectra_and_objects_of_specutils(quasar):
    specutils = pytest.importorskip("specutils")
    _, spectrum = quasar
    model, own = qm.load(), {"redshift": spectrum.redshift, "ebv": spectrum.ebv}
    expected = model.predict(spectrum)
    ivar = np.where(spectrum.mask, 0.0, spectrum.ivar)
    one = specutils.Spectrum(
        flux=spectrum.flux * u.Unit("1e-17 erg / (s cm2 AA)"),
        spectral_axis=spectrum.wavelength * u.AA,
        uncertainty=InverseVariance(ivar),
    )
    for row in (model.predict(one, **own), model.predict(spectrum.wavelength, spectrum.flux, ivar, **own)):
        assert pytest.approx(expected.LMBH, abs=1e-4) == row.LMBH
        assert row.FLAGS == expected.FLAGS
    table = model.predict(specutils.SpectrumList([one, one]), **own)
    assert table["LMBH"].tolist() == pytest.approx([expected.LMBH] * 2, abs=1e-4)
    assert virial.measure(one, **own)["LMBH"][0] == pytest.approx(virial.measure(spectrum)["LMBH"][0], abs=1e-4)
    assert model.predict(one).REASON.startswith("no redshift")


def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("specutils")
    page = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    section = page.split("## Tables, objects and arrays")[1].split("\n## ")[0]
    examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(examples) == 2
    monkeypatch.chdir(tmp_path)
    exec("".join(examples), {})
    assert quasar_analysis.main(["predict", "mine.ecsv"]) == 0
    assert re.search(r"mine mine.ecsv +1.620", capsys.readouterr().out)
