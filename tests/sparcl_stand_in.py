"""A stand-in for SPARCL's client with the methods of sparclclient 1.3 that are used, and records as it gives them."""

import numpy as np
import requests

from quasar_mass.fetch.urls import specid

CORE = {
    "sparcl_id",
    "specid",
    "targetid",
    "data_release",
    "specprimary",
    "redshift",
    "redshift_err",
    "redshift_warning",
}
CORE |= {"spectype", "telescope", "instrument", "site", "ra", "dec", "exptime"}
OTHERS = {  # by the first letters of the data set
    "DESI": {"flux", "ivar", "mask", "wavelength", "wave_sigma", "model", "survey", "program", "healpix"},
    "BOSS": {"flux", "ivar", "mask", "wavelength", "wave_sigma", "model", "sky", "plate", "mjd", "fiberid"},
}
OTHERS["SDSS"] = OTHERS["BOSS"]


class Record(dict):
    """Its keys are attributes too, as in the client's own records."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.__dict__ = self


def _core(number, dataset, spec_id, **fields):
    uuid = f"00000000-0000-0000-0000-{number:012d}"
    usual = {
        "specprimary": True,
        "redshift_err": 1e-4,
        "redshift_warning": 0,
        "spectype": "QSO",
        "ra": 10.5,
        "dec": -3.25,
    }
    return Record(sparcl_id=uuid, _dr=dataset, data_release=dataset, specid=spec_id, **(usual | fields))


def sdss_record(spec_id, run2d, dataset, number):
    """The whole grid of the plate, padded where there are no data; BRIGHTSKY everywhere in record 1."""
    pixel = 35500 + np.arange(4700)
    ivar = np.full(4700, 4.0)
    ivar[:30] = ivar[-20:] = ivar[2000:2003] = 0
    record = _core(number, dataset, specid(*spec_id, run2d), redshift=1.625, telescope="sloan25m")
    record |= {
        "wavelength": 10 ** (pixel / 1e4),
        "flux": np.where(ivar > 0, 10 + np.sin(pixel / 50), np.nan),
        "ivar": ivar,
        "mask": np.where(ivar > 0, 1 << 23 if number == 1 else 0, 1 << 24),
        "wave_sigma": np.full(4700, 1.1),
        "model": np.full(4700, 10.0),
        "sky": np.ones(4700),
    }
    return record


def desi_record(targetid, dataset, number, **fields):
    """The three arms as one, on 0.8 Angstrom; some pixels are masked, and some of these have an inverse variance."""
    draw = np.random.default_rng(number)
    mask = np.where(draw.random(7781) < 0.02, 1 << draw.integers(0, 11, 7781), 0)
    record = _core(number, dataset, targetid, targetid=targetid, redshift=1.6, telescope="kp4m", survey="main")
    record |= {
        "wavelength": 3600 + 0.8 * np.arange(7781),
        "flux": draw.normal(5.0, 0.5, 7781).astype(np.float32),
        "ivar": np.where(mask & 1, 4.0, np.where(mask, 0.0, 4.0)).astype(np.float32),
        "mask": mask,
        "program": "dark",
    }
    return Record(record | fields)


class Results:
    def __init__(self, records):
        self.records = records
        self.ids = [record["sparcl_id"] for record in records]


class StandIn:
    all_datasets = {"BOSS-DR16", "SDSS-DR16", "DESI-EDR", "DESI-DR1"}  # noqa: RUF012 - a property there

    def __init__(self, records):
        self.held, self.calls, self.failures = records, [], 0

    def get_available_fields(self, *, dataset_list=None):
        return set.intersection(*(CORE | OTHERS[name[:4]] for name in dataset_list))

    def find(self, outfields=None, *, constraints={}, limit=500):  # noqa: B006 - as there
        self.calls.append("find")
        if self.failures:
            self.failures -= 1
            raise requests.exceptions.ReadTimeout("no answer")
        assert set(outfields) | set(constraints) <= CORE
        assert all(type(number) is int for number in constraints.get("specid", []))
        found = [r for r in self.held if all(r[name] in values for name, values in constraints.items())]
        assert len(found) <= limit
        return Results([Record({name: record[name] for name in [*outfields, "_dr"]}) for record in found])

    def retrieve(self, uuid_list, *, include="DEFAULT", dataset_list=None, limit=500):
        self.calls.append("retrieve")
        assert len(uuid_list) <= limit <= 24_000
        assert set(include) <= self.get_available_fields(dataset_list=dataset_list)
        found = [r for r in self.held if r["sparcl_id"] in uuid_list and r["data_release"] in dataset_list]
        return Results([Record({name: r.get(name) for name in [*include, "_dr"]}) for r in reversed(found)])
