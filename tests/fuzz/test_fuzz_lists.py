"""Lists and tables that name spectra, survey.json, the manifest and its journal, the reference's own tables."""

import json
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import watch
from hypothesis import strategies as st
from mutations import NUMBERS, SHARES, WORDS, Case, Mutation, damage, either, fits_damage
from parquet_mutations import parquet_damage, unsealed

from quasar_mass.core.survey import LABEL_COLUMNS, Survey
from quasar_mass.fetch import manifest
from quasar_mass.predict.inputs import gather
from quasar_mass.tables import survey_tables
from quasar_mass.tables.build.convert import convert


@st.composite
def _text(draw) -> Mutation:
    """Words and numbers put into a text, its lines or its values exchanged."""
    kind = draw(st.sampled_from(["word", "number", "line", "value", "deep"]))
    position, other = draw(SHARES), draw(SHARES)  # fractions of the text
    word, number = draw(st.sampled_from(WORDS)), draw(st.sampled_from(NUMBERS))

    def apply(content: bytes) -> bytes:
        lines = content.split(b"\n")
        row, to = int(position * len(lines)), int(other * len(lines))
        if kind == "line":
            lines[row], lines[to] = lines[to], lines[row]
            return b"\n".join([*lines, lines[row]])
        values = list(re.finditer(rb"[^,\s:{}\[\]]+", content))
        if kind == "deep" or not values:
            return b"[" * 50_000 + content
        old, copied = values[int(position * len(values))], values[int(other * len(values))]
        new = {"word": word.encode("utf-8", "replace"), "number": str(number).encode(), "value": copied[0]}[kind]
        return content[: old.start()] + new + content[old.end() :]

    return Mutation(f"text({kind}, {position}, {other}, {word!r}, {number})", apply)


def text_damage(content: bytes) -> st.SearchStrategy[Case]:
    change = either(_text(), _text(), damage())
    return either(st.tuples(change), st.tuples(change, change)).flatmap(lambda damages: st.just(Case(content, damages)))


@pytest.mark.parametrize("examples", [25, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", ["txt", "csv", "ecsv", "fits", "parquet"])
def test_damaged_lists_and_tables_name_spectra_of_the_survey_or_are_refused(tmp_path, ending, examples):
    from astropy.table import Table

    survey, path = Survey(tmp_path / "survey"), tmp_path / f"table.{ending}"
    rows = {
        "EPOCH": [f"7666-57339-{n:04d}" for n in range(1, 9)],
        "Z": [1.5 + n / 100 for n in range(8)],
        "OBJECT": list("abcdefgh"),
    }
    if ending == "txt":
        path.write_text("".join(f"{epoch}\n" for epoch in rows["EPOCH"]))
    elif ending == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        Table(rows).write(path, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits"}[ending])
    content = path.read_bytes()
    cases = {"fits": fits_damage, "parquet": parquet_damage}.get(ending, text_damage)(content)

    def check(case: Case) -> None:
        changed = case.damaged()
        path.write_bytes(changed)
        gathered = watch.attempt(f"lists.{ending}", lambda: gather([path], survey))
        if gathered is None:
            return
        for request in gathered[0]:
            inside = survey.folder / "spectra" in request.file.parents
            named = re.fullmatch(r"spec-\d{4,5}-\d{5}-\d{4}\.fits", request.file.name)
            # other files are read only where the text names them, or is itself no table
            assert (inside and named) or request.file == path or ending == "txt"
            assert not np.isinf(request.redshift)
        watch.note(f"lists.{ending}", "unchanged" if changed == content else "in the survey")

    watch.fuzz(check, cases, examples)


@pytest.mark.parametrize("examples", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_a_damaged_survey_card_is_read_or_refused(tmp_path, examples):
    survey = Survey(tmp_path)
    content = json.dumps({"kind": "simulated", "objects": 9, "seed": 3, "complete": True}, indent=1).encode()

    def check(case: Case) -> None:
        survey.card.write_bytes(case.damaged())
        about = watch.attempt("survey.json", survey.about)
        if about is not None:
            assert about == json.loads(case.damaged())
            assert about["kind"] in ("simulated", "sdss")

    watch.fuzz(check, text_damage(content), examples)


@pytest.mark.parametrize("examples", [60, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", ["journal", "table"])
def test_a_damaged_manifest_names_only_spectra_or_is_refused(tmp_path, which, examples):
    survey = Survey(tmp_path)
    row = {
        "plate": 7666,
        "mjd": 57339,
        "run2d": "v5_13_0",
        "url": "https://x",
        "bytes": 9,
        "sha256": "a",
        "state": "verified",
    }
    rows = [manifest.Row(**row, fiberid=n, reason="") for n in range(1, 6)]
    with manifest.Manifest(survey) as one:
        one.select([row.spec_id for row in rows])
        for row in rows:
            one.record(row)
    path = manifest.paths(survey)[0]
    if which == "journal":
        path.unlink()
        path = manifest.paths(survey)[1]
        path.write_bytes(b"".join(json.dumps(asdict(row)).encode() + b"\n" for row in rows))
    content = path.read_bytes() if which == "journal" else unsealed(path.read_bytes())

    def write_again() -> dict:
        found = manifest.read(survey)
        with manifest.Manifest(survey) as one:
            one.select(list(found))
        return found

    def check(case: Case) -> None:
        for left in manifest.paths(survey):
            left.unlink(missing_ok=True)
        path.write_bytes(case.damaged())
        found = watch.attempt(f"manifest, {which}", write_again)
        if found is None:
            return
        for row in found.values():
            target = survey.spectrum(*row.spec_id)
            assert target.resolve().is_relative_to((survey.folder / "spectra").resolve())
            assert row.state in manifest.STATES
        assert manifest.read(survey) == found, "what was read can be written and read again"
        watch.note(f"manifest, {which}", "unchanged" if case.damaged() == content else "as it says")

    watch.fuzz(check, (text_damage if which == "journal" else parquet_damage)(content), examples)


@pytest.mark.parametrize("examples", [40, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", ["quasars", "spectra"])
def test_a_damaged_table_of_the_reference_is_converted_as_it_is_or_refused(tmp_path, which, examples):
    survey, source = Survey(tmp_path / "survey"), tmp_path / f"{which}.parquet"
    random = np.random.default_rng(1)
    names = [f"00000{n}.00+000000.0".encode() for n in range(6)]
    quasars = pd.DataFrame(
        {"OBJECT": names, "ZVI": 1.5, **dict.fromkeys(LABEL_COLUMNS, 0.0), "LMBH": 8.5 + np.arange(6) / 10}
    )
    quasars = quasars.assign(
        **{"logMBH-MgII-2": quasars["LMBH"], "CHEN EPOCH": [b"4000-56000-0001"] * 6, "Z": 1.6, "N_EPOCHS": 1}
    )
    wavelengths = np.round(3.159 + 2.5e-3 * np.arange(150), 5)
    wide = pd.DataFrame(random.normal(1, 0.1, (6, 150)), columns=[f"{w:.5f}" for w in wavelengths])
    wide = wide.assign(OBJECT=names, EPOCH=[f"4000-56000-000{n}".encode() for n in range(1, 7)]).set_index(
        ["OBJECT", "EPOCH"]
    )
    if which == "spectra":
        quasars.set_index("OBJECT").to_parquet(tmp_path / "first.parquet")
        convert(tmp_path / "first.parquet", survey, quiet=True)
    (quasars.set_index("OBJECT") if which == "quasars" else wide).to_parquet(source)
    content = source.read_bytes()

    def check(case: Case) -> None:
        source.write_bytes(case.damaged())
        if watch.attempt(f"the reference's {which}", lambda: convert(source, survey, quiet=True)) is None:
            return
        with pq.ParquetFile(source) as file:
            table = file.read(columns=[name for name in file.schema_arrow.names if re.fullmatch(r"[\w .-]+", name)])
        if which == "quasars":
            found = survey_tables.read_quasars(survey.quasars)
            label = dict(
                zip(map(_plain, table.column("OBJECT").to_pylist()), table.column("LMBH").to_pylist(), strict=True)
            )
            assert found["LMBH"].to_dict() == label
        else:
            ((frame, flux),) = survey_tables.iterate_spectra(survey.spectra)
            assert np.isfinite(flux).all()
            epochs = [_plain(name) for name in table.column("EPOCH").to_pylist()]
            assert set(frame["EPOCH"]) <= set(epochs)
            for name, row in zip(frame["EPOCH"], flux, strict=True):
                first = [
                    float(table.column(w)[epochs.index(name)].as_py())
                    for w in ("3.15900", "3.16150")
                    if w in table.column_names
                ]
                if len(first) == 2 and "3.16400" in table.column_names:
                    assert row[0] == pytest.approx(first[0] + 0.4 * (first[1] - first[0]), rel=1e-4)
        watch.note(f"the reference's {which}", "unchanged" if case.damaged() == content else "as it is")

    watch.fuzz(check, parquet_damage(content), examples)


def _plain(name) -> str:
    return name.decode("ascii") if isinstance(name, bytes) else str(name)
