"""Spectra in the file formats of several surveys, written by the published data models with astropy and by hand.

The package itself is not used to make them, so that a fault of a reader cannot hide in its own writer. Each function
writes one file and returns its path; `wavelength` in Angstrom (vacuum), `flux` in 1e-17 erg / s / cm2 / Angstrom.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits

FIELD, MJD, CATALOGID, SDSS_ID = 112360, 60000, 27021598150202075, 67890123
_PIXEL = "FLUX:E LOGLAM:E IVAR:E AND_MASK:J OR_MASK:J WDISP:E SKY:E MODEL:E WRESL:E"
_FIT = """CLASS:6A SUBCLASS:21A Z:E Z_ERR:E RCHI2:E DOF:J RCHI2DIFF:E TFILE:24A TCOLUMN:10J NPOLY:J THETA:10E
THETA_COVAR:100E VDISP:E VDISP_ERR:E VDISPZ:E VDISPZ_ERR:E VDISPCHI2:E VDISPNPIX:E VDISPDOF:J WAVEMIN:E WAVEMAX:E
WCOVERAGE:E ZWARNING:J SN_MEDIAN:5E SN_MEDIAN_ALL:E CHI68P:E FRACNSIGMA:10E FRACNSIGHI:10E FRACNSIGLO:10E SPECTROFLUX:5E
SPECTROFLUX_IVAR:5E SPECTROSYNFLUX:5E SPECTROSYNFLUX_IVAR:5E SPECTROSKYFLUX:5E ANYANDMASK:J ANYORMASK:J SPEC1_G:E
SPEC1_R:E SPEC1_I:E SPEC2_G:E SPEC2_R:E SPEC2_I:E"""
# HDU 2 of SDSS-V's spec files: column and format. The FIELD of DR18 is that of the SDSS imaging.
_SPALL = {
    "DR18": f"""OBJID:5J HOLETYPE:6A RA:D DEC:D MAG:5E STARL:E EXPL:E DEVAUCL:E XFOCAL:D YFOCAL:D SPECTROGRAPHID:J
FIBERID:J THROUGHPUT:J PRIMTARGET:J SECTARGET:J BADSTDMASK:K PROGRAM:6A OFFSETID:J SCI_EXPTIME:E SOURCETYPE:3A
LAMBDA_EFF:E ZOFFSET:E BLUEFIBER:J BOSS_TARGET1:K BOSS_TARGET2:K ANCILLARY_TARGET1:K ANCILLARY_TARGET2:K EBOSS_TARGET0:K
EBOSS_TARGET1:K EBOSS_TARGET2:K EBOSS_TARGET_ID:K THING_ID_TARGETING:K RUN:K RERUN:1A CAMCOL:K FIELD:K ID:K CATALOGID:K
GAIA_BP:E GAIA_RP:E GAIA_G:E SDSSV_BOSS_TARGET0:K FIRSTCARTON:48A SDSSV_APOGEE_TARGET0:J GRI_GAIA_TRANSFORM:J HEALPIX:J
HEALPIXGRP:I HEALPIX_DIR:1A CALIBFLUX:5E CALIBFLUX_IVAR:5E CALIB_STATUS:5J SFD_EBV:E WISE_MAG:4E TWOMASS_MAG:3E
GUVCAT_MAG:2E GAIA_PARALLAX:E GAIA_PMRA:E GAIA_PMDEC:E TARGET_INDEX:I NEXP:I MJD_FINAL:D MOON_DIST:109A MOON_PHASE:120A
TAI_LIST:131A PLATESNR2G_LIST:87A PLATESNR2R_LIST:87A PLATESNR2I_LIST:87A TILE:J MJD:J RUN2D:6A RUN1D:6A OBJTYPE:16A
PLUG_RA:D PLUG_DEC:D {_FIT} Z_NOQSO:E CLASS_NOQSO:6A SPECOBJID:K XCSAO_RV:D""",
    "DR19": f"""FIELD:K MJD:K OBS:3A MJD_FINAL:D MJD_LIST:47A TAI_LIST:87A RUN2D:6A RUN1D:6A DESIGNS:55A CONFIGS:39A
NEXP:I EXPTIME:E TARGET_INDEX:K FIBERID_LIST:31A SPEC_FILE:41A PROGRAMNAME:7A SURVEY:3A CADENCE:10A FIRSTCARTON:17A
CARTON_TO_TARGET_PK:9A SDSS5_TARGET_FLAGS:29X OBJTYPE:16A CATALOGID:K CATALOGID_V0:K CATALOGID_V0P5:K SDSS_ID:K
SPECOBJID:K CALIBFLUX:5E CALIBFLUX_IVAR:5E OPTICAL_PROV:11A MAG:5E PSFMAG:5E FIBER2MAG:5E CATDB_MAG:5E GAIA_G_MAG:E
GRI_GAIA_TRANSFORM:K BP_MAG:E RP_MAG:E GAIA_ID:K WISE_MAG:4E TWOMASS_MAG:3E GUVCAT_MAG:2E EBV:E EBV_TYPE:16A FIBER_RA:D
FIBER_DEC:D PLUG_RA:D PLUG_DEC:D RACAT:D DECCAT:D COORD_EPOCH:E PMRA:E PMDEC:E PARALLAX:E RA_LIST:87A DEC_LIST:71A
DELTA_RA_LIST:31A DELTA_DEC_LIST:31A FIBER_OFFSET:K XFOCAL:71A YFOCAL:71A ZOFFSET:E LAMBDA_EFF:E BLUEFIBER:K HEALPIX:K
HEALPIXGRP:K HEALPIX_PATH:68A FIELDQUALITY:4A EXP_DISP_MED:D FIELDSN2:E FIELDSNR2G_LIST:39A FIELDSNR2R_LIST:39A
FIELDSNR2I_LIST:39A AIRMASS:E SEEING20:E SEEING50:E SEEING80:E MOON_DIST:47A MOON_PHASE:39A ASSIGNED:15A ON_TARGET:15A
VALID:15A DECOLLIDED:15A SPECPRIMARY:K SPECBOSS:K BOSS_SPECOBJ_ID:K NSPECOBS:K {_FIT} Z_NOQSO:E Z_ERR_NOQSO:E
ZNUM_NOQSO:K ZWARNING_NOQSO:K CLASS_NOQSO:6A SUBCLASS_NOQSO:21A RCHI2DIFF_NOQSO:E XCSAO_RV:E""",
}
_SPALL["DR20"] = _SPALL["DR19"].replace("SPECOBJID:K", "TOO:5A TOO_ID:K CATALOGID_V1:K SPECOBJID:35A")
_RUN2D = {"DR18": "v6_0_4", "DR19": "v6_1_3", "DR20": "v6_2_1"}


def sdss_v(
    path: Path,
    wavelength: np.ndarray,
    flux: np.ndarray,
    ivar: np.ndarray,
    *,
    release: str = "DR19",
    full: bool = False,
    and_mask: np.ndarray | None = None,
    redshift: float = 1.6,
    ebv: float = 0.02,
    ebv_type: str = "SFD",
    field: int | str = FIELD,
    mjd: int = MJD,
    catalogid: int | str = CATALOGID,
    telescope: str = "SDSS 2.5-M",
    spectral_class: str = "QSO",
    zwarning: int = 0,
    loglam: str = "E",
    columns: dict | None = None,
) -> Path:
    """A spec file of SDSS-V, lite or with four exposures; `field` may be the name of a coadd, such as ``allepoch``.

    `columns` replaces cells of HDU 2; the value None takes a column out.
    """
    n = len(flux)
    mask = np.zeros(n) if and_mask is None else and_mask
    pixels = {"FLUX": flux, "LOGLAM": np.log10(wavelength), "IVAR": ivar, "AND_MASK": mask, "OR_MASK": mask}
    layout = _layout(_PIXEL) | {"LOGLAM": loglam}
    number = field if isinstance(field, int) else 0
    cells = {
        "FIELD": 301 if release == "DR18" else number,
        "MJD": mjd,
        "FIBERID": 500,
        "CATALOGID": catalogid,
        "SDSS_ID": SDSS_ID,
        "RUN2D": _RUN2D[release],
        "SPEC_FILE": f"spec-{f'{field:06d}' if number else field}-{mjd}-{catalogid}.fits",
        "CLASS": spectral_class,
        "Z": redshift,
        "ZWARNING": zwarning,
        "SFD_EBV": ebv,
        "EBV": ebv,
        "EBV_TYPE": ebv_type,
    } | (columns or {})
    summary = {name: form for name, form in _layout(_SPALL[release]).items() if cells.get(name, 0) is not None}
    if isinstance(catalogid, str):
        summary["CATALOGID"] = f"{len(catalogid)}A"
    hdus = [
        _sdss_v_primary(release, field, mjd, telescope),
        _table(layout, pixels | {"MODEL": flux}, n, "COADD"),
        _table(summary, cells, 1, "SPALL"),
        _table(
            _layout("FIELD:J TILE:J MJD:J CATALOGID:K RUN2D:6A " + _FIT), {"CLASS": "GALAXY", "Z": 0.1}, 134, "ZALL"
        ),
        _table(_layout("FIELD:K MJD:K CATALOGID:K LINENAME:13A LINEWAVE:D LINEZ:E"), {"LINEZ": redshift}, 32, "ZLINE"),
    ]
    hdus[1].header.update({"TUNIT1": "10^-17 ergs/s/cm^2/Angs", "TUNIT2": "log10(Angs)", "TUNIT9": "Angs"})
    del layout["MODEL"]
    exposures = range(4 if full else 0)
    hdus += [_table(layout, pixels | {"FLUX": -flux}, n, f"MJD_EXP_{mjd}-{k:02d}") for k in exposures]
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, overwrite=True, checksum=release != "DR18")
    if release == "DR18":  # its tables carry shapes: of text in HDU 2, of the wrong table's columns in HDU 3
        _add_cards(path, 2, ["TDIM2   = '(6, 1)  '", "TDIM17  = '(6, 1)  '"])
        _add_cards(path, 3, ["TDIM2   = '(6, 1)  '", "TDIM62  = '(109, 1)'"])
    else:  # a value that FITS does not know
        _add_cards(path, 0, ["HUMIDITY=                  NaN"])
    return path


def _sdss_v_primary(release: str, field: int | str, mjd: int, telescope: str) -> fits.PrimaryHDU:
    primary = fits.PrimaryHDU()
    # plates of DR18 have a number; since DR19 the robots' fields leave PLATEID empty
    plate = {"DR18": {"PLATEID": field, "FIELDID": str(field)}}.get(release, {"PLATEID": "", "FIELDID": field})
    version = dict.fromkeys(("VERS2D", "VERSCOMB", "RUN2D"), _RUN2D[release])
    grid = {"COEFF0": 3.5523, "COEFF1": 1e-4, "DC-FLAG": 1, "VACUUM": True}
    observatory = {"TELESCOP": telescope, "OBSERVAT": "LCO" if "LCO" in telescope else "APO"}
    primary.header.update(observatory | {"NEXP": 8, "EXPTIME": 7200.6, "MJD": mjd} | plate | version | grid)
    primary.header.update({f"EXPID{k:02d}": f"b1-{353000 + k:08d}-00353044-00353047" for k in range(1, 17)})
    if release == "DR18":
        primary.header["BUNIT"] = "1E-17 erg/cm^2/s/Ang"
    return primary


def sp_spec(
    path: Path,
    wavelength: np.ndarray,
    flux: np.ndarray,
    error: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    redshift: float = 1.6,
    z_conf: float = 0.99,
    spec_cln: int = 3,
    spectrum: tuple[int, int, int] = (398, 51789, 10),
    rows: int = 5,
) -> Path:
    """A spSpec file of SDSS-I/II (until DR7): an image of four or five rows, with tables of lines behind it."""
    n = len(flux)
    image = [flux, flux - np.median(flux), error, np.zeros(n) if mask is None else mask, np.ones(n)][:rows]
    primary = fits.PrimaryHDU(np.array(image, np.float32))
    plate, mjd, fiberid = spectrum
    step = np.log10(wavelength[-1] / wavelength[0]) / (n - 1)
    primary.header.update(
        {"TELESCOP": "SDSS 2.5-M", "VERS2D": "v5_3_12", "MJD": mjd, "PLATEID": plate, "FIBERID": fiberid}
        | {"OBJTYPE": "QSO", "Z": redshift, "Z_ERR": 2e-3, "Z_CONF": z_conf, "Z_STATUS": 3, "Z_WARNIN": 0}
        | {"SPEC_CLN": spec_cln, "COEFF0": round(np.log10(wavelength[0]), 5), "COEFF1": round(step, 8)}
        | {"DC-FLAG": 1, "VACUUM": True, "BUNIT": "1.0E-17 erg/cm/s/Ang", "REDDEN01": 0.1}
    )
    lines = _table({"restWave": "E", "ew": "E"}, {"restWave": 2799.5}, 44, "")
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary, lines, lines.copy()]).writeto(path, overwrite=True)
    return path


def lamost(path: Path, wavelength: np.ndarray, flux: np.ndarray, ivar: np.ndarray, *, release: int = 7) -> Path:
    """A LAMOST file: an image of five rows (until DR7), a table of one row (since DR8), or medium resolution (0)."""
    n = len(flux)
    image = np.array([flux, ivar, wavelength, np.zeros(n), np.zeros(n)], np.float32)
    primary = fits.PrimaryHDU(image if 0 < release < 8 else None)
    primary.header.update({"TELESCOP": "LAMOST", "ORIGIN": "NAOC-LAMOST", "DATA_V": f"LAMOST DR{release}"})
    primary.header.update({"OBSID": 12345, "MJD": 56972, "SPID": 7, "FIBERID": 8, "Z": 1.6, "CLASS": "QSO"})
    primary.header.update({"COEFF0": 3.5682, "COEFF1": 1e-4, "PLANID": "HD064049N515841V01"})
    hdus = [primary]
    if release >= 8:
        names = ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK", "ORMASK")
        form = f"{n}E"
        hdus.append(_table(dict.fromkeys(names, form), dict(zip(names, image, strict=True)), 1, "COADD"))
    elif release == 0:
        layout = {"FLUX": "E", "IVAR": "E", "LOGLAM": "E", "PIXMASK": "J"}
        cells = {"FLUX": flux, "IVAR": ivar, "LOGLAM": np.log10(wavelength)}
        hdus += [_table(layout, cells, n, name) for name in ("COADD_B", "COADD_R", "B-84420148")]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def sp_plate(path: Path, fibres: int = 20) -> Path:
    """A spPlate (since SDSS-V spField) file: images with a row per fibre."""
    images = [fits.PrimaryHDU(np.ones((fibres, 50), np.float32))]
    images[0].header.update({"TELESCOP": "SDSS 2.5-M", "PLATEID": 7666, "MJD": 57339, "COEFF0": 3.55, "COEFF1": 1e-4})
    images += [fits.ImageHDU(np.ones((fibres, 50), kind)) for kind in (np.float32, np.int32, np.int32, np.float32)]
    plugmap = _table({"FIBERID": "J", "RA": "D"}, {"FIBERID": np.arange(fibres)}, fibres, "")
    fits.HDUList([*images, plugmap]).writeto(path, overwrite=True)
    return path


def sp_zbest(path: Path, fibres: int = 20) -> Path:
    """A spZbest file: redshifts and classes of all fibres, and their templates as an image."""
    layout = _layout("PLATE:J MJD:J FIBERID:J " + _FIT)
    table = _table(layout, {"FIBERID": np.arange(fibres), "CLASS": "QSO"}, fibres, "")
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(np.ones((fibres, 50), np.float32))]).writeto(path)
    return path


def apogee(path: Path, *, visit: bool = False) -> Path:
    """An APOGEE apStar or apVisit file: images of flux, error, mask and wavelength in the infrared."""
    primary, shape = fits.PrimaryHDU(), (3, 40) if visit else (2, 90)
    primary.header.update({"TELESCOP": "apo25m", "APRED": "1.5", "NVISITS": 1, "SURVEY": "sdss-v"})
    units = ["Flux (10^-17 erg/s/cm^2/Ang)", "Err (10^-17 erg/s/cm^2/Ang)", "Flag", "Wavelength (Ang)"]
    images = [fits.ImageHDU(np.ones(shape, np.float32)) for _ in range(10)]
    for image, unit in zip(images, units, strict=False):
        image.header["BUNIT"] = unit
    images[0].header.update({"CRVAL1": 4.179, "CDELT1": 6e-6})
    fits.HDUList([primary, *images]).writeto(path, overwrite=True)
    return path


def _layout(text: str) -> dict[str, str]:
    """Columns and formats."""
    return dict(item.split(":") for item in text.split())


def _table(layout: dict, cells: dict, rows: int, name: str) -> fits.BinTableHDU:
    """A binary table; columns without cells hold zeros or blanks, and one cell stands for all rows."""
    columns = []
    for key, form in layout.items():
        count = int(form[:-1] or 1)
        if form[-1] == "A":
            values = np.full(rows, cells.get(key, ""), f"S{count}")
        else:
            kind = {"E": "f4", "D": "f8", "I": "i2", "J": "i4", "K": "i8", "X": bool}[form[-1]]
            values = np.broadcast_to(np.asarray(cells.get(key, 0)), (rows, count) if count > 1 else rows).astype(kind)
        columns.append(fits.Column(key, form, array=values))
    return fits.BinTableHDU.from_columns(columns, name=name or None)


def _add_cards(path: Path, number: int, cards: list[str]) -> None:
    """Put cards into a header as they are, in place of blanks behind END."""
    with fits.open(path) as hdus:
        start, data = hdus[number].fileinfo()["hdrLoc"], hdus[number].fileinfo()["datLoc"]
    content = path.read_bytes()
    text = content[start:data].decode("ascii").rstrip()
    text = text.removesuffix("END") + "".join(card.ljust(80) for card in cards) + "END"
    text = text.ljust(-(-len(text) // 2880) * 2880)
    path.write_bytes(content[:start] + text.encode("ascii") + content[data:])
