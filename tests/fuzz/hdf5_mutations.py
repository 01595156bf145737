"""Ways to damage a model file: its bytes, its attributes, its arrays, its description."""

import io
import json

import h5py
import numpy as np
from hypothesis import strategies as st
from mutations import NUMBERS, SHARES, WORDS, Case, Mutation, either

from quasar_mass.network.keras_io.model_file import CHECKSUM_SIZE

JSON = ("model_config", "training_config", "quasar_mass")
ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(WORDS),
    st.sampled_from([[], {}, [1], {"step": 1e-3}, 1e-3, float("nan"), float("inf")]),
)


def _places(value, path=()) -> list[tuple]:
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += _places(inner, (*path, key))
    return found


def _set(value, path: tuple, new, drop: bool):
    for key in path[:-1]:
        value = value[key]
    if drop:
        del value[path[-1]]
    else:
        value[path[-1]] = new


def _changed(change):
    def apply(content: bytes) -> bytes:
        memory = io.BytesIO(content)
        try:
            with h5py.File(memory, "r+") as file:
                change(file)
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError):
            return content  # damaged already, or no such file can be written
        return memory.getvalue()

    return apply


@st.composite
def _said(draw) -> Mutation:
    name, share, drop, value = draw(st.sampled_from(JSON)), draw(SHARES), draw(st.booleans()), draw(ANY)

    def change(file) -> None:
        said = json.loads(file.attrs[name])
        places = _places(said)
        _set(said, places[int(share * len(places))], value, drop)
        file.attrs[name] = json.dumps(said)

    return Mutation(f"said({name}, {share}, {'dropped' if drop else repr(value)})", _changed(change))


@st.composite
def _attribute(draw) -> Mutation:
    share = draw(SHARES)
    text = draw(
        st.sampled_from(
            [
                "",
                "{",
                "[1]",
                "null",
                "[" * 20_000,
                "\u00e9",
                b"\xff\xfe",
                3,
                [1.5, 2.5],
                ["a", "b"],
                np.void(b"abc"),
                None,
            ]
        )
    )

    def change(file) -> None:
        every = [("/", key) for key in file.attrs]
        file.visititems(lambda name, part: every.extend((name, key) for key in part.attrs))
        where, key = every[int(share * len(every))]
        del file[where].attrs[key]
        if text is not None:
            file[where].attrs[key] = text

    return Mutation(f"attribute({share}, {str(text)[:20]!r})", _changed(change))


@st.composite
def _array(draw) -> Mutation:
    share, kind = (
        draw(SHARES),
        draw(st.sampled_from(["value", "value", "drop", "shape", "type", "bomb", "link", "elsewhere"])),
    )
    value = draw(st.sampled_from([float("nan"), float("inf"), -1.0, 0.0, 1e20, 1e-20]))

    def change(file) -> None:
        every = []
        file.visititems(lambda name, part: every.append(name) if isinstance(part, h5py.Dataset) else None)
        name = every[int(share * len(every))]
        old = file[name][()]
        if kind == "value":
            file[name][...] = np.full(old.shape, value if old.dtype.kind == "f" else 0)
            return
        del file[name]
        if kind == "shape":
            file[name] = old.reshape(-1)[: max(1, old.size // 2)]
        elif kind == "type":
            file[name] = [str(one) for one in old.reshape(-1)[:3]]
        elif kind == "bomb":
            file.create_dataset(name, (10**6, 10**6), "f4", chunks=(1000, 1000), compression="gzip")
        elif kind == "link":
            file[name] = h5py.SoftLink("/model_weights")
        elif kind == "elsewhere":
            file[name] = h5py.ExternalLink("/etc/passwd", "/")

    return Mutation(f"array({share}, {kind}, {value})", _changed(change))


def without_checksum(content: bytes) -> bytes:
    """The file as another program would write it; with its checksum, no damage gets far."""
    return content[:-CHECKSUM_SIZE]


def hdf5_damage(content: bytes) -> st.SearchStrategy[Case]:
    """One mutation of what the file says, seldom two; the file stays one that HDF5 can read."""
    some = either(_said(), _said(), _attribute(), _array(), _array())
    return either(st.tuples(some), st.tuples(some), st.tuples(some, some)).flatmap(
        lambda damages: st.just(Case(content, damages))
    )
