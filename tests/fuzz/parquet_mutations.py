"""Ways to damage a Parquet file: its bytes, its columns and rows, and what it says of itself."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from mutations import NUMBERS, SHARES, WORDS, Case, Mutation, damage, either

KEY = b"quasar_mass"
SEAL = b"quasar_mass_sha256"
TYPES = (
    pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(),
    pa.float64(), pa.bool_(), pa.null(), pa.timestamp("ns"), pa.decimal128(20, 3), pa.list_(pa.float32()),
    pa.list_(pa.float64()),
    pa.dictionary(pa.int32(), pa.string()), pa.struct([("a", pa.int64())]),
)  # fmt: skip
ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(WORDS),
    st.just(float("nan")),
    st.just(float("inf")),
    st.just([]),
    st.just({}),
)


def _rewritten(change):
    def apply(content: bytes) -> bytes:
        try:
            table = pq.read_table(io.BytesIO(content))
            changed = change(table)
            to = io.BytesIO()
            pq.write_table(changed, to, compression="zstd")
        except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, LookupError, RecursionError):
            return content  # no such file can be written
        return to.getvalue()

    return apply


def _with(table: pa.Table, place: int, column) -> pa.Table:
    return table.set_column(place, table.column_names[place], column)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    try:
        return column.cast(kind, safe=False)
    except (pa.ArrowException, ValueError):
        return pa.nulls(len(column), kind)


@st.composite
def _columns(draw, names: list[str]) -> Mutation:
    place, other = draw(st.integers(0, len(names) - 1)), draw(st.integers(0, len(names) - 1))
    kind = draw(st.sampled_from(["cast", "cast", "drop", "rename", "twice", "swap names", "another", "reverse"]))
    to, word = draw(st.sampled_from(TYPES)), draw(st.sampled_from([*WORDS, "lmbh", "3.2", names[other]]))

    def change(table: pa.Table) -> pa.Table:
        if kind == "cast":
            return _with(table, place, _cast(table.column(place), to))
        if kind == "drop":
            return table.remove_column(place)
        if kind == "twice":
            return table.append_column(names[place], table.column(other))
        if kind == "another":
            return table.append_column(word, pa.array(range(len(table))))
        if kind == "reverse":
            return table.select(table.column_names[::-1])
        new = list(table.column_names)
        new[place], new[other] = (word, new[other]) if kind == "rename" else (new[other], new[place])
        return table.rename_columns(new)

    return Mutation(
        f"columns({kind} {names[place]}, {names[other]}, {to}, {word!r})",
        _rewritten(change),
    )


@st.composite
def _cells(draw, names: list[str]) -> Mutation:
    name, share, value = (
        draw(st.sampled_from(names)),
        draw(SHARES),
        draw(ANY | st.sampled_from([-1.0, 0.0, 1e300, 1, "1-2-3"])),
    )
    inside = draw(st.booleans())

    def change(table: pa.Table) -> pa.Table:
        column = table.column(name)
        values, row = column.to_pylist(), int(share * len(table))
        if pa.types.is_fixed_size_list(column.type) and inside and isinstance(value, float | None):
            values[row] = [value, *values[row][1:]]
        else:
            values[row] = value
        return _with(table, table.column_names.index(name), pa.array(values, column.type))

    return Mutation(f"cell({name}, {share}, {value!r}, inside {inside})", _rewritten(change))


@st.composite
def _rows(draw) -> Mutation:
    kind = draw(st.sampled_from(["none", "reverse", "twice", "a row again", "drop one", "next one's name"]))
    share = draw(SHARES)

    def change(table: pa.Table) -> pa.Table:
        row = int(share * len(table))
        order = {
            "none": [],
            "reverse": range(len(table))[::-1],
            "twice": [*range(len(table))] * 2,
            "a row again": [*range(len(table)), row],
            "drop one": [number for number in range(len(table)) if number != row],
        }
        if kind == "next one's name":
            name = table.column("OBJECT").to_pylist()
            name[row] = name[(row + 1) % len(name)]
            return _with(table, table.column_names.index("OBJECT"), pa.array(name, table.schema.field("OBJECT").type))
        return table.take(pa.array(list(order[kind]), pa.int64()))

    return Mutation(f"rows({kind}, {share})", _rewritten(change))


@st.composite
def _says(draw) -> Mutation:
    kind = draw(st.sampled_from(["key", "key", "key", "drop", "grid", "text", "none", "pandas", "pandas", "schema"]))
    key = draw(
        st.sampled_from(
            [
                "kind",
                "build",
                "grid",
                "flux_unit",
                "cosmology",
                "extinction_corrected",
                "survey",
                "cuts",
                "split_seed",
                "inputs",
            ]
        )
    )
    value = draw(ANY | st.sampled_from(["sdss", "simulated", True, {"kind": "sdss"}, 1e-3, 5e-5]))
    text = draw(
        st.sampled_from([b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"kind": "sdss"}', b"NaN",
                         b'{"index_columns": 3}', b'{"index_columns": ["x"], "columns": [{"name": "Z"}]}'])
    )  # fmt: skip

    def change(table: pa.Table) -> pa.Table:
        said = _unsealed(table.schema.metadata)
        if kind in ("pandas", "schema"):
            said[b"pandas" if kind == "pandas" else b"ARROW:schema"] = text
        elif kind == "text":
            said[KEY] = text
        elif kind == "none":
            said = {}
        elif KEY in said:
            about = json.loads(said[KEY])
            if kind == "drop":
                about.pop(key, None)
            elif kind == "grid":
                about["grid"] = {**about.get("grid", {}), "step": value}
            else:
                about[key] = value
            said[KEY] = json.dumps(about).encode()
        return table.replace_schema_metadata(said)

    return Mutation(f"says({kind}, {key} = {value!r}, {text[:20]!r})", _rewritten(change))


def unsealed(content: bytes) -> bytes:
    """The table without checksums, as a program that means harm would leave it; with them, no damage gets far."""
    return _rewritten(lambda table: table.replace_schema_metadata(_unsealed(table.schema.metadata)))(content)


def _unsealed(metadata: dict | None) -> dict:
    return {key: value for key, value in (metadata or {}).items() if key != SEAL}


def parquet_damage(content: bytes) -> st.SearchStrategy[Case]:
    """One mutation, seldom two."""
    names = pq.read_schema(io.BytesIO(content)).names
    some = either(_columns(names), _columns(names), _cells(names), _cells(names), _rows(), _says(), damage())
    return either(st.tuples(some), st.tuples(some), st.tuples(some, some)).flatmap(
        lambda damages: st.just(Case(content, damages))
    )
