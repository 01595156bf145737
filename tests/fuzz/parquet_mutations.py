"""Ways to damage a Parquet file: its bytes, its columns and rows, and what it says of itself."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from mutations import NUMBERS, SHARES, WORDS, Case, Mutation, damage, either

from quasar_mass.tables.parquet import CHECKSUM, METADATA

TYPES = (pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.bool_())
TYPES += (pa.null(), pa.timestamp("ns"), pa.list_(pa.float32()), pa.dictionary(pa.int32(), pa.string()))
ANY = st.none() | st.sampled_from([True, [], {}, float("nan"), float("inf"), -1.0, 1e300, "1-2-3"])
ANY |= st.sampled_from(NUMBERS) | st.sampled_from(WORDS)
ABOUT = ("kind", "build", "grid", "flux_unit", "cosmology", "extinction_corrected", "survey", "split_seed", "inputs")
TEXTS = (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"kind": "sdss"}', b'{"index_columns": 3}')


def _rewritten(change):
    def apply(content: bytes) -> bytes:
        try:
            table, to = pq.read_table(io.BytesIO(content)), io.BytesIO()
            pq.write_table(change(table), to, compression="zstd")
        except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, LookupError, RecursionError):
            return content  # no such file can be written
        return to.getvalue()

    return apply


@st.composite
def _columns(draw, names: list[str]) -> Mutation:
    kind = draw(st.sampled_from(["cast", "cast", "drop", "rename", "twice", "swap names"]))
    place, other = draw(st.integers(0, len(names) - 1)), draw(st.integers(0, len(names) - 1))
    to, word = draw(st.sampled_from(TYPES)), draw(st.sampled_from([*WORDS, "lmbh", "3.2"]))

    def change(table: pa.Table) -> pa.Table:
        if kind == "cast":
            return table.set_column(place, names[place], table.column(place).cast(to, safe=False))
        if kind == "drop":
            return table.remove_column(place)
        if kind == "twice":
            return table.append_column(names[place], table.column(other))
        new = list(table.column_names)
        new[place], new[other] = (word, new[other]) if kind == "rename" else (new[other], new[place])
        return table.rename_columns(new)

    return Mutation(f"columns({kind} {names[place]}, {names[other]}, {to}, {word!r})", _rewritten(change))


@st.composite
def _cells(draw, names: list[str]) -> Mutation:
    name, share, value = draw(st.sampled_from(names)), draw(SHARES), draw(ANY)

    def change(table: pa.Table) -> pa.Table:
        column, row = table.column(name), int(share * len(table))
        values = column.to_pylist()
        inside = pa.types.is_fixed_size_list(column.type) and isinstance(value, float)
        values[row] = [value, *values[row][1:]] if inside else value
        return table.set_column(table.column_names.index(name), name, pa.array(values, column.type))

    return Mutation(f"cell({name}, {share}, {value!r})", _rewritten(change))


@st.composite
def _rows(draw) -> Mutation:
    kind, share = draw(st.sampled_from(["none", "reverse", "twice", "a row again", "drop one"])), draw(SHARES)

    def change(table: pa.Table) -> pa.Table:
        row, every = int(share * len(table)), list(range(len(table)))
        order = {"none": [], "reverse": every[::-1], "twice": every * 2, "a row again": [*every, row]}
        return table.take(pa.array(order.get(kind, every[:row] + every[row + 1 :]), pa.int64()))

    return Mutation(f"rows({kind}, {share})", _rewritten(change))


@st.composite
def _says(draw) -> Mutation:
    kind = draw(st.sampled_from(["key", "key", "drop", "step", "text", "none", "pandas"]))
    key, value, text = draw(st.sampled_from(ABOUT)), draw(ANY), draw(st.sampled_from(TEXTS))

    def change(table: pa.Table) -> pa.Table:
        metadata = _without_checksum(table.schema.metadata)
        if kind in ("text", "pandas"):
            metadata[METADATA if kind == "text" else b"pandas"] = text
        elif kind == "none":
            metadata = {}
        elif METADATA in metadata:
            about = json.loads(metadata[METADATA])
            if kind == "drop":
                about.pop(key, None)
            else:
                about |= {key: value} if kind == "key" else {"grid": {"step": value}}
            metadata[METADATA] = json.dumps(about).encode()
        return table.replace_schema_metadata(metadata)

    return Mutation(f"says({kind}, {key} = {value!r}, {text[:20]!r})", _rewritten(change))


def unsealed(content: bytes) -> bytes:
    """The table without checksums, as another program would write it; with them, no damage gets far."""
    return _rewritten(lambda table: table.replace_schema_metadata(_without_checksum(table.schema.metadata)))(content)


def _without_checksum(metadata: dict | None) -> dict:
    return {key: value for key, value in (metadata or {}).items() if key != CHECKSUM}


def parquet_damage(content: bytes) -> st.SearchStrategy[Case]:
    """One mutation, seldom two."""
    names = pq.read_schema(io.BytesIO(content)).names
    some = either(_columns(names), _columns(names), _cells(names), _cells(names), _rows(), _says(), damage())
    return either(st.tuples(some), st.tuples(some), st.tuples(some, some)).map(lambda damages: Case(content, damages))
