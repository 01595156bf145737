"""What a model file must hold, and must not, before Keras or anything else uses it.

It may come from anyone. So it may name no code, point to no other file, and claim no more than its own bytes hold.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import ModelError, first_line

MAX_OBJECTS, MAX_DEPTH = 20_000, 20  # groups and datasets of a file, and how deep; a network here has below 300, 5 deep
MAX_COMPRESSION = 1_000  # bytes that one byte of a file can stand for, at the most
MAX_VALUE = 1e30  # of a calibration's numbers, far beyond any
CODE = ("Lambda", "__lambda__", "function", "__typespec__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
COPY_AGAIN = "save, copy or download it again"
SAVE_AGAIN = "save it again from the Keras that made it, without Lambda or custom layers"

# Entries of the description that this package reads, and their types.
TYPES = {
    "extinction_corrected": bool,
    "grid": dict,
    "history": list,
    "kind": str,
    "recipe": str,
    "seed": int,
    "stages": list,
    "survey": dict,
    "tables": str,
    "targets": dict,
    "trained_on": dict,
    "versions": dict,
}


def structure(path: Path, file) -> None:
    """Walk through an HDF5 file; `file` as h5py opens it.

    Raises
    ------
    ModelError
        If something in it lies elsewhere (links, external and virtual datasets), is not stored, or goes too deep.
    """
    import h5py

    waiting, visited = [("", file, 0)], set()
    while waiting:
        where, group, depth = waiting.pop()
        for name in group:
            inner, link = f"{where}/{name}", group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelError(path, f"is refused: {inner} is a link elsewhere; {COPY_AGAIN}")
            part = group[name]
            address = h5py.h5o.get_info(part.id).addr
            if address in visited or len(visited) > MAX_OBJECTS or depth > MAX_DEPTH:
                raise ModelError(path, f"is no plain tree of groups: {inner[:60]} is {depth} deep, or a second time")
            visited.add(address)
            if isinstance(part, h5py.Group):
                waiting.append((inner, part, depth + 1))
            elif not isinstance(part, h5py.Dataset) or part.dtype.kind not in "fiub":
                raise ModelError(path, f"is refused: {inner} holds no numbers")
            elif part.external or part.is_virtual or part.nbytes > MAX_COMPRESSION * part.id.get_storage_size():
                raise ModelError(path, f"is refused: {inner} of shape {part.shape} is not stored in the file")


def network(path: Path, file) -> None:
    """Refuse a network that names code, is wider than the weights in the file, or has weights that are no numbers.

    Raises
    ------
    ModelError
    """
    try:
        config = json.loads(file.attrs["model_config"])
        training = json.loads(file.attrs.get("training_config", "{}"))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(path, f"does not describe its network in JSON; {COPY_AGAIN}") from error
    widest = [1]

    def check_weights(name: str, part) -> None:
        if hasattr(part, "shape"):
            widest.append(max(part.shape, default=1))
            if part.dtype.kind == "f" and not np.isfinite(part[()]).all():
                raise ModelError(path, f"has weights that are NaN or infinite, in {name}")

    if "model_weights" in file:
        file["model_weights"].visititems(check_weights)
    for part in _dictionaries([config, training]):
        module, name, registered = (part.get(key) for key in ("module", "class_name", "registered_name"))
        foreign = module is not None and str(module).split(".")[0] != "keras"
        if foreign or name in CODE or ">" in str(registered):
            what = name if name in CODE else registered or f"{module}.{name}"
            raise ModelError(path, f"is refused: it names code, {what!r}, which safe mode does not run; {SAVE_AGAIN}")
        for size in ("units", "filters", "output_dim"):
            value = part.get(size, 1)
            if type(value) is not int or not 0 < value <= max(widest):
                raise ModelError(path, f"is refused: {size} of {value!r}, but no weights wider than {max(widest):,}")


def _dictionaries(waiting: list) -> Iterator[dict]:
    """All dictionaries in nested lists and dictionaries."""
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def about(path: Path, text: str) -> dict:
    """Read a description, and refuse one whose entries have other types than this package takes for granted.

    Raises
    ------
    ModelError
    """
    try:
        facts = json.loads(text)
        if not isinstance(facts, dict):
            raise TypeError(f"it is {str(facts)[:60]}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(path, f"its description is no JSON object ({first_line(error)}); save it again") from error

    def check(fits: bool, name: str) -> None:
        if not fits:
            raise ModelError(path, f"its description has {name} of a wrong type or value; save the model again")

    for name, kind in TYPES.items():
        check(facts.get(name) is None or type(facts[name]) is kind, name)
    check(0 <= (facts.get("seed") or 0) < 1 << 32, "a seed")
    step = (facts.get("grid") or {}).get("step", 1e-4)
    check(_is_number(step) and 1e-5 <= step <= 1e-2, "a grid step")
    for name in ("history", "stages"):
        check(all(isinstance(row, dict) for row in facts.get(name) or ()), name)
    trained = facts.get("trained_on")
    if trained:
        check(all(type(trained.get(name)) is int for name in ("objects", "spectra")), "trained_on")
        for name in ("redshift", "sn", "label"):
            ends = trained.setdefault(name, None)
            check(ends is None or (isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))), name)
    return facts


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def shapes(path: Path, arrays: dict[str, np.ndarray], expected: dict[str, str], unknown: tuple[str, ...] = ()) -> None:
    """Refuse arrays that do not fit together.

    Parameters
    ----------
    path : Path
    arrays : dict of str to ndarray
    expected : dict of str to str
        For each, its lengths, by letters that mean the same length wherever they stand, or by digits.
    unknown : tuple of str
        Those that may hold NaN or infinity.

    Raises
    ------
    ModelError
    """
    lengths: dict[str, int] = {}
    for name, letters in expected.items():
        value = np.asarray(arrays[name])
        axes = letters.split()
        fits = value.ndim == len(axes) and value.dtype.kind in "fiu"
        for axis, length in zip(axes, value.shape, strict=False):
            fits = fits and length == (int(axis) if axis.isdigit() else lengths.setdefault(axis, length))
        if not fits or not (name in unknown or (np.abs(value) <= MAX_VALUE).all()):
            problem = f"the shape {value.shape} for ({letters})" if not fits else "NaN, infinity or larger numbers"
            raise ModelError(path, f"has a calibration whose {name} has {problem}; calibrate the model again")
