"""The classical measurement against spectra made here: other profiles, other noise, nothing of the simulation."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import quasar_analysis
from quasar_mass import virial
from quasar_mass.spectra import iron
from quasar_mass.spectra.cosmology import luminosity_distance
from quasar_mass.spectra.extinction import transmission
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import FLAG_LUMINOSITY
from quasar_mass.spectra.spectrum import Spectrum
from quasar_mass.virial import files, lines

C = 299_792.458
MPC = 3.0856775814913673e24
MGII, CIV = (2796.352, 2803.531), (1548.187, 1550.772)
KINDS = ("gaussian", "lorentzian", "double")
PIXEL = np.arange(35_520, 40_120)


def shape(kind, velocity, width):
    sigma = width / 2.3548
    if kind == "gaussian":
        return np.exp(-0.5 * (velocity / sigma) ** 2)
    if kind == "lorentzian":  # with its far wings cut off, as a line of finite flux has them
        return np.exp(-np.abs(velocity) / (12 * width)) / (1 + (2 * velocity / width) ** 2)
    core = 0.75 * np.exp(-0.5 * (velocity / (0.92 * sigma)) ** 2)
    return core + 0.25 * np.exp(-0.5 * ((velocity + 0.3 * width) / (2.4 * sigma)) ** 2)


def measured_width(x, y):
    above = np.flatnonzero(y >= y.max() / 2)
    first, last = above[0], above[-1]
    left = np.interp(y.max() / 2, y[first - 1 : first + 1], x[first - 1 : first + 1])
    return np.interp(-y.max() / 2, -y[last : last + 2], x[last : last + 2]) - left


def emission_line(kind, wavelength, components, width, shift):
    """Per Angstrom, of flux 1; the blend has the width asked for."""
    centre = np.exp(np.mean(np.log(components)))
    x = np.linspace(-40_000, 40_000, 8001)

    def blend(velocity, own):
        return sum(shape(kind, velocity - C * np.log(c / centre) - shift, own) for c in components)

    low, high = 0.1 * width, 1.5 * width
    for _ in range(30):
        own = 0.5 * (low + high)
        low, high = (own, high) if measured_width(x, blend(x, own)) < width else (low, own)
    flux = np.trapezoid(blend(x, own), x) / C * centre
    return blend(C * np.log(wavelength / centre), own) / flux


def planck_edge(wavelength):
    w = np.minimum(wavelength, 3646.0)
    return w**-5 / np.expm1(1.438777e8 / (w * 15_000)) * -np.expm1(-((w / 3646) ** 3))


def quasar(seed, kind="double", sn=8.0, redshift=1.65, mgii=4000.0, civ=4500.0, shift=-600.0, level=3.0):
    """A spectrum and its truth; strengths of iron, Balmer continuum and lines are drawn from `seed`."""
    rng = np.random.default_rng(seed)
    scatter = rng.standard_normal(6)
    rest_wavelength = 10 ** (1e-4 * PIXEL) / (1 + redshift)
    slope = -1.5 + 0.2 * scatter[0]
    flux = level * (rest_wavelength / 3000) ** slope
    flux += level * 0.1 * np.exp(0.3 * scatter[1]) * planck_edge(rest_wavelength) / planck_edge(3000.0)
    seen = (rest_wavelength > 1275) & (rest_wavelength < 7900)
    bumps = iron.emission(mgii, np.log10(rest_wavelength[seen]))
    flux[seen] += 40 * np.exp(0.4 * scatter[2]) * level * (2450 / 3000) ** slope * bumps
    widths = {"MgII": 32 * np.exp(0.2 * scatter[3]), "CIV": 30 * np.exp(0.2 * scatter[4])}
    for strength, components, width, move in (
        (widths["MgII"], MGII, mgii, 100.0),
        (widths["CIV"], CIV, civ, shift),
        (4.0, (1640.42,), civ, -400.0),
        (3.0, (1663.48,), civ, 0.0),
        (16.0, (1908.73,), mgii, -100.0),
        (4.0, (1892.03,), mgii, 0.0),
        (8.0, (1396.8,), civ, -300.0),
    ):
        at = level * (components[0] / 3000) ** slope
        flux += strength * at * emission_line(kind, rest_wavelength, components, width, move)
    # the blue end is noisier, and so is the far red, as in the real ones
    error = 1 + 1.2 * np.clip(36_200 - PIXEL, 0, None) / 700 + 0.8 * (PIXEL > 39_700)
    window = (rest_wavelength > 1445) & (rest_wavelength < 3388)
    error *= np.median((flux / error)[window if window.any() else slice(None)]) / sn
    spectrum = Spectrum(
        wavelength=10 ** (1e-4 * PIXEL),
        flux=flux + error * rng.standard_normal(len(PIXEL)),
        ivar=error**-2,
        redshift=redshift,
        ebv=0.0,
        kind="simulated",
    )
    distance = float(luminosity_distance(redshift)) * MPC
    truth = {"FWHM_MgII": mgii, "FWHM_CIV": civ, "SHIFT_CIV": shift}
    for at in (1350, 3000):
        density = 4 * np.pi * distance**2 * (1 + redshift) * level * (at / 3000) ** slope * 1e-17
        truth[f"LOG_L{at}"] = np.log10(at * density)
    return spectrum, truth


def measured(spectra, ebv=0.0):
    return virial.measure(spectra, ebv=ebv)


def sample(kind, sn, n, seed=0):
    made = [
        quasar(seed + i, kind, sn, 1.47 + 0.05 * (i % 7), *((4000, 4500), (2500, 3000), (6500, 6500))[i % 3])
        for i in range(n)
    ]
    spectra, truth = zip(*made, strict=True)
    return list(spectra), pd.DataFrame(truth)


def robust_sd(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


# --- the whole measurement ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def at_eight():
    """Truth and measurement of 42 quasars of each kind at a signal-to-noise of 8."""
    outcomes = {}
    for number, kind in enumerate(KINDS):
        spectra, truth = sample(kind, 8.0, 42, seed=1000 * number)
        outcomes[kind] = truth, measured(spectra)
    return outcomes


@pytest.mark.parametrize("kind", KINDS)
def test_widths_and_luminosities_are_the_true_ones_whatever_the_profile(at_eight, kind):
    truth, table = at_eight[kind]
    assert (table["REASON"] == "").all()
    for name, bias, scatter in (("FWHM_MgII", 0.02, 0.09), ("FWHM_CIV", 0.02, 0.03)):
        off = np.log10(table[name] / truth[name])
        print(f"{kind} {name}: {off.median():+.4f} +- {robust_sd(off):.4f} dex")
        assert abs(off.median()) < bias
        assert robust_sd(off) < scatter
    for name in ("LOG_L1350", "LOG_L3000"):
        off = table[name] - truth[name]
        print(f"{kind} {name}: {off.median():+.4f} +- {robust_sd(off):.4f} dex")
        assert abs(off.median()) < 0.02
        assert robust_sd(off) < 0.03
    assert abs(np.median(table["SHIFT_CIV"] - truth["SHIFT_CIV"])) < 250


def test_error_bars_are_the_scatter(at_eight):
    # about each kind's own median: what a profile's far wings do to the continuum is bias, and bounded above. The
    # errors also allow for absorption, narrow lines and other iron, which only test_fit_errors.py has
    for name in ("FWHM_MgII", "FWHM_CIV", "LOG_L1350", "LOG_L3000"):
        pulls = [(table[name] - truth[name]) / table[name + "_ERR"] for truth, table in at_eight.values()]
        print([round(float(p.median()), 2) for p in pulls])
        pulls = np.concatenate([pull - pull.median() for pull in pulls])
        print(f"{name}: robust sd of the pulls {robust_sd(pulls):.2f}")
        assert 0.4 < robust_sd(pulls) < 1.1


def test_noise_that_the_file_understates_is_in_the_errors():
    spectra = [quasar(70 + i, sn=8.0)[0] for i in range(12)]
    right = measured(spectra)
    wrong = measured([dataclasses.replace(spectrum, ivar=4 * spectrum.ivar) for spectrum in spectra])
    for name in ("FWHM_MgII_ERR", "FWHM_CIV_ERR", "LOG_L1350_ERR"):
        assert np.median(wrong[name] / right[name]) > 0.8  # half of it by the file's word


def test_masses_are_those_of_the_relation_with_its_errors(at_eight):
    _, table = at_eight["double"]
    for line, power in (("MgII", "LOG_L3000"), ("CIV", "LOG_L1350")):
        width = table[f"FWHM_{line}"]
        np.testing.assert_array_equal(table[f"LMBH_{line}"], virial.mass(line, table[power], width))
        relative = 2 * table[f"FWHM_{line}_ERR"] / width / np.log(10)
        np.testing.assert_allclose(table[f"LMBH_{line}_ERR"], np.hypot(0.5 * table[power + "_ERR"], relative))
    assert (table["LABEL_LINE"] == "MgII").all()
    np.testing.assert_array_equal(table["LMBH"], table["LMBH_MgII"])


def test_faint_spectra_still_give_widths_that_follow_the_truth():
    spectra, truth = sample("double", 2.0, 60, seed=9000)
    table = measured(spectra)
    for name, scatter in (("FWHM_MgII", 0.25), ("FWHM_CIV", 0.09)):
        off = np.log10(table[name] / truth[name])
        print(f"S/N 2, {name}: {off.median():+.3f} +- {robust_sd(off.dropna()):.3f}, {off.isna().sum()} without")
        assert off.isna().mean() < 0.15
        assert abs(off.median()) < 0.06
        assert robust_sd(off.dropna()) < scatter
        assert off.abs().max() < 0.8  # a width of the noise's own would be off by more


def test_a_spectrum_s_numbers_do_not_depend_on_its_batch():
    spectra, _ = sample("double", 4.0, 60)
    spectra += [quasar(1, sn=1.0)[0], quasar(2, redshift=0.7)[0], quasar(3, redshift=3.0)[0]]
    together = measured(spectra)
    numbers = together.select_dtypes("number").columns
    backwards = measured(spectra[::-1])[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(backwards[numbers], together[numbers], check_exact=True)
    for i in (0, 17, 59, 60, 61, 62):
        alone = measured([spectra[i]])
        np.testing.assert_array_equal(alone.loc[0, numbers].astype(float), together.loc[i, numbers].astype(float))
        assert alone.loc[0, ["FLAGS", "REASON"]].tolist() == together.loc[i, ["FLAGS", "REASON"]].tolist()


def test_galactic_extinction_is_corrected_where_it_is_known():
    spectrum, _ = quasar(6, sn=20.0)
    through = transmission(PIXEL, 0.3)
    dimmed = dataclasses.replace(spectrum, flux=spectrum.flux * through, ivar=spectrum.ivar / through**2)
    clean, right, wrong = virial.measure([spectrum, dimmed, dimmed], redshift=1.65, ebv=[0.0, 0.3, None]).to_dict(
        "records"
    )
    assert right["LOG_L1350"] == pytest.approx(clean["LOG_L1350"], abs=1e-9)
    assert right["LMBH_CIV"] == pytest.approx(clean["LMBH_CIV"], abs=1e-9)
    assert wrong["LOG_L1350"] < clean["LOG_L1350"] - 0.3
    assert "no extinction known" in wrong["FLAGS"]
    assert "no extinction known" not in right["FLAGS"]


def test_fluxes_in_another_unit_are_flagged_as_for_the_network():
    spectrum, _ = quasar(6, sn=20.0)
    factors = (1.0, 1e-17, 1e17, 1e-2)  # the last is that of a faint quasar
    scaled = [dataclasses.replace(spectrum, flux=spectrum.flux * f, ivar=spectrum.ivar / f**2) for f in factors]
    flags = virial.measure(scaled, redshift=1.65, ebv=0.0)["FLAGS"]
    assert flags.str.startswith(FLAG_LUMINOSITY).tolist() == [False, True, True, False]


# --- absorption and bad pixels ------------------------------------------------------------------------------------


def absorb(spectrum, troughs):
    """Dim a spectrum around C IV; a trough is (velocity, width, depth)."""
    velocity = C * np.log(10 ** (1e-4 * PIXEL) / (1 + spectrum.redshift) / 1549.48)
    flux = spectrum.flux.copy()
    for centre, width, depth in troughs:
        flux *= 1 - depth * np.exp(-(np.abs((velocity - centre) / (0.5 * width)) ** 4))
    return dataclasses.replace(spectrum, flux=flux)


@pytest.mark.parametrize(
    ("troughs", "flagged"),
    [
        ([(-1500.0, 350.0, 0.95)], None),  # one narrow system: flagged or not
        ([(-2200.0, 500.0, 0.95), (-1700.0, 500.0, 0.95), (600.0, 400.0, 0.9)], True),
        ([(-11_000.0, 5000.0, 0.8)], False),  # a broad absorption line beyond the wing
    ],
)
def test_absorption_is_clipped_and_the_width_stays(troughs, flagged):
    spectra = [quasar(50 + i, sn=10.0, redshift=1.75)[0] for i in range(12)]
    plain, cut = measured(spectra), measured([absorb(spectrum, troughs) for spectrum in spectra])
    off = np.log10(cut["FWHM_CIV"] / plain["FWHM_CIV"])
    print(f"{troughs}: {off.median():+.4f}, {off.abs().max():.4f} at most")
    assert abs(off.median()) < 0.03
    assert off.abs().max() < 0.12
    if flagged is not None:
        assert cut["FLAGS"].str.contains("C IV absorbed").mean() == flagged
    assert not plain["FLAGS"].str.contains("C IV absorbed").any()
    np.testing.assert_allclose(cut["LOG_L1350"], plain["LOG_L1350"], atol=0.03)


def test_pixels_that_are_marked_bad_do_not_count():
    spectrum, _ = quasar(7, sn=15.0)
    rng = np.random.default_rng(0)
    flux, ivar, mask = spectrum.flux.copy(), spectrum.ivar.copy(), spectrum.mask.copy()
    dead, bright = rng.choice(len(flux), 300, False), rng.choice(len(flux), 300, False)
    ivar[dead], mask[bright] = 0.0, True
    tables = []
    for dead_flux, bright_flux in ((0.0, 0.0), (np.nan, 1e6)):
        spoilt = flux.copy()
        spoilt[bright], spoilt[dead] = bright_flux, dead_flux
        tables.append(measured([dataclasses.replace(spectrum, flux=spoilt, ivar=ivar, mask=mask)]))
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert "many bad pixels" in tables[0].loc[0, "FLAGS"]
    clean = measured([spectrum])
    assert tables[0].loc[0, "FWHM_MgII"] == pytest.approx(clean.loc[0, "FWHM_MgII"], rel=0.1)


def test_a_spike_on_a_line_does_not_pass_for_its_core():
    spectrum, _ = quasar(15, sn=6.0)
    flux = spectrum.flux.copy()
    for line, at in ((0, 2790.0), (1, 1556.0)):
        first = round(1e4 * np.log10(at * (1 + spectrum.redshift))) - PIXEL[0]
        flux[first : first + 5] += (12.0, 25.0)[line]
    clean, hit = measured([spectrum, dataclasses.replace(spectrum, flux=flux)]).to_dict("records")
    for name in ("FWHM_MgII", "FWHM_CIV"):
        assert np.log10(hit[name] / clean[name]) == pytest.approx(0, abs=0.05)
        assert "absorbed" not in hit["FLAGS"]


def test_shifts_refer_to_the_redshift_to_a_fraction_of_a_pixel():
    spectrum, _ = quasar(16, sn=40.0)
    steps = np.linspace(-0.5, 0.5, 5)  # pixels of 69 km/s
    redshift = 10 ** (1e-4 * steps) * (1 + spectrum.redshift) - 1
    table = virial.measure([spectrum] * 5, redshift=redshift, ebv=0.0)
    for line in ("MgII", "CIV"):
        shift = table[f"SHIFT_{line}"] + 69.03 * steps
        assert shift.max() - shift.min() < 30  # without the fraction, 69


# --- what cannot be measured --------------------------------------------------------------------------------------


def test_a_wrong_redshift_is_flagged_and_so_is_mg_ii_far_from_it():
    made = [quasar(seed, redshift=1.65)[0] for seed in range(20)]
    for error, words in ((10_000, "lines shifted by -"), (-10_000, "lines shifted by +")):
        table = virial.measure(made, redshift=(1 + 1.65) * np.exp(error / C) - 1, ebv=0.0)
        assert table["FLAGS"].str.contains(words, regex=False).mean() >= 0.9
    assert not measured(made)["FLAGS"].str.contains("shifted").any()
    table = virial.measure(made, redshift=(1 + 1.65) * np.exp(3700 / C) - 1, ebv=0.0)
    moved = table["SHIFT_MgII"] < -3000
    assert moved.any()
    assert table["FLAGS"].str.contains("Mg II shifted").tolist() == moved.tolist()


def test_bad_spectra_get_a_reason_and_leave_the_others_alone():
    good, _ = quasar(9)
    dead = dataclasses.replace(good, ivar=np.zeros(len(PIXEL)))
    dark = dataclasses.replace(good, flux=good.flux - np.mean(good.flux) * 3)
    two = {key: getattr(good, key)[:2] for key in ("wavelength", "flux", "ivar", "mask")}  # the fewest of a Spectrum
    none = dataclasses.replace(good, **two)
    noise = dataclasses.replace(good, flux=0.01 * np.random.default_rng(0).standard_normal(len(PIXEL)))
    absurd = dataclasses.replace(good, flux=1e200 * good.flux)
    beyond = dataclasses.replace(good, wavelength=good.wavelength * 10**0.8)
    cases = [
        (good, 1.65, None),
        (good, np.nan, "no redshift"),
        (good, -0.5, "no redshift"),
        (good, np.inf, "no redshift"),
        (dead, 1.65, "no good pixels"),
        (none, 1.65, "no good pixels"),
        (beyond, 1.65, "no good pixels"),
        (dark, 1.65, "faint continuum: S/N"),
        (noise, 1.65, "faint continuum: S/N"),
        (absurd, 1.65, ""),
        (good, 1.65, None),
    ]
    spectra, redshift, reasons = zip(*cases, strict=True)
    table = virial.measure(spectra, redshift=redshift, ebv=0.0)
    assert list(table) == list(virial.COLUMNS)
    alone = virial.measure([good], redshift=1.65, ebv=0.0)
    for i, reason in enumerate(reasons):
        row = table.loc[i]
        if reason is None:
            numbers = alone.select_dtypes("number").columns
            np.testing.assert_array_equal(row[numbers].astype(float), alone.loc[0, numbers].astype(float))
        else:
            assert np.isnan(row["LMBH"])
            assert row["LABEL_LINE"] is None or pd.isna(row["LABEL_LINE"])
            assert row["REASON"]
            assert reason in row["REASON"]


def test_lines_that_a_spectrum_does_not_cover_are_named():
    spectra = [quasar(10, redshift=0.8)[0], quasar(11, redshift=3.0)[0], quasar(12)[0]]
    near, far, both = measured(spectra).to_dict("records")
    assert (near["REASON"], near["LABEL_LINE"]) == ("C IV not covered", "MgII")
    assert np.isnan([near["FWHM_CIV"], near["LMBH_CIV_ERR"], far["LMBH_MgII"]]).all()
    assert "L1350 extrapolated" in near["FLAGS"]
    assert (far["REASON"], far["LABEL_LINE"], far["LMBH"]) == ("Mg II not covered", "CIV", far["LMBH_CIV"])
    assert both["REASON"] == ""


def test_a_line_that_is_not_there_gets_no_width():
    template, _ = quasar(13, sn=3.0)
    power_law = 3 * (10 ** (1e-4 * PIXEL) / 2.65 / 3000) ** -1.5
    noise = np.random.default_rng(3).standard_normal((20, len(PIXEL))) / np.sqrt(template.ivar)
    table = measured([dataclasses.replace(template, flux=power_law + error) for error in noise])
    for line, label in (("MgII", "Mg II"), ("CIV", "C IV")):
        without = table[f"FWHM_{line}"].isna()
        assert without.mean() >= 0.7
        assert table.loc[without, "REASON"].str.contains(f"{label} S/N below 3|{label} width").all()
        assert table.loc[~without, "FLAGS"].str.contains(f"{label} low S/N").all()
    assert table["LOG_L3000"].notna().all()


# --- the parts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [lines.MGII, lines.CIV], ids=lambda line: line.name)
def test_width_is_that_of_the_sum_and_its_error_follows_the_covariance(line):
    rng = np.random.default_rng(2)
    p = len(line.priors.mean)
    parameters = np.tile(line.priors.mean, (20, 1))
    parameters[:, :9] += rng.uniform(-0.3, 0.3, (20, 9))
    covariance = np.tile(1e-4 * np.eye(p), (20, 1, 1))
    width = lines.width(line, parameters, covariance)
    x = np.arange(-30.0, 30.0, 0.002)
    profile, _ = lines.broad(parameters, x, line.offsets, 0.0)
    np.testing.assert_allclose(width.fwhm, [1e3 * measured_width(x, y) for y in profile], atol=2.0)
    np.testing.assert_allclose(width.flux, profile.sum(axis=1) * 0.002, rtol=1e-3)
    variance = np.zeros(20)
    for j in range(9):
        step = np.zeros_like(parameters)
        step[:, j] = 1e-3
        up, down = (lines.width(line, parameters + sign * step, covariance).fwhm for sign in (1, -1))
        variance += 1e-4 * ((up - down) / 2e-3) ** 2
    np.testing.assert_allclose(width.fwhm_error, np.sqrt(variance), rtol=0.02)


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_a_row_for_every_file(make, tmp_path, capsys, monkeypatch):
    for number in (1, 2):
        spectrum = quasar(19 + number, redshift=1.6)[0]
        path = tmp_path / "in" / f"spec-4000-56000-000{number}.fits"
        columns = {"flux": spectrum.flux[:4500], "ivar": spectrum.ivar[:4500]}
        make.spec(path, spectrum=(4000, 56000, number), first=PIXEL[0], z=1.6, **columns)
    broken = tmp_path / "in" / "spec-4000-56000-0001a.fits"
    broken.write_bytes(b"nothing")
    monkeypatch.setattr(files, "_BATCH", 1)
    for ending in ("fits", "parquet"):
        output = tmp_path / f"virial.{ending}"
        assert quasar_analysis.main(["virial", str(tmp_path / "in"), "--output", str(output), "--quiet"]) == 0
        assert "3 rows" in capsys.readouterr().out
    table = pd.read_parquet(output)
    assert list(table) == list(files.FILE_COLUMNS)
    assert table["EPOCH"].tolist() == ["4000-56000-0001", "", "4000-56000-0002"]
    assert table["LMBH"].isna().tolist() == [False, True, False]
    assert "unreadable file" in table["REASON"][1]
    assert quasar_analysis.main(["virial", str(broken)]) == 1
    printed = capsys.readouterr()
    assert "it is neither FITS nor a text" in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_where_nothing_can_be_measured_the_table_has_every_reason_and_the_screen_counts_them(make, tmp_path, capsys):
    (tmp_path / "broken.fits").write_bytes(b"nothing")
    far = make.spec(tmp_path / "spec-4000-56000-0001.fits", z=9.0)
    arguments = [str(tmp_path / "broken.fits"), str(far), str(tmp_path / "none.fits"), str(tmp_path / "no.fits")]
    output = tmp_path / "virial.csv"
    assert quasar_analysis.main(["virial", *arguments, "--output", str(output)]) == 1
    counted = "(missing file: 2; unreadable file: 1; no continuum: 1)"
    assert f"not one of the 4 spectra got a mass {counted}" in capsys.readouterr().err
    assert pd.read_csv(output)["REASON"].str.split(":").str[0].tolist() == [
        "unreadable file",
        "no continuum",
        "missing file",
        "missing file",
    ]
    assert quasar_analysis.main(["virial", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out.count(".fits") == 4
    assert counted in printed.err


# --- real spectra -------------------------------------------------------------------------------------------------


def test_real_spectra_get_plausible_numbers_or_a_reason(real_data):
    spectra = [read_spectrum(path) for path in sorted((real_data / "sdss").glob("*/*.fits"))]
    redshift = np.array([spectrum.redshift for spectrum in spectra])
    table = virial.measure(spectra, redshift=redshift)
    for line, label in (("MgII", "Mg II"), ("CIV", "C IV")):
        missing = table[f"LMBH_{line}"].isna()
        explained = table["REASON"].str.contains(f"{label}|no good pixels|continuum|no redshift")
        assert (explained | ~missing).all()
        widths = table.loc[~missing, f"FWHM_{line}"]
        assert widths.between(1200, 20_000).all()
        print(f"\n{line}: {len(widths)} measured, FWHM {widths.quantile([0.16, 0.5, 0.84]).round().tolist()}")
    both = (redshift > 1.46) & (redshift < 2.2)
    assert table.loc[both, ["LMBH_MgII", "LMBH_CIV"]].notna().to_numpy().all()
    assert table.loc[both, "LMBH"].between(7, 10.5).all()
