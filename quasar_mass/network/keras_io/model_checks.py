"""What a model file must hold, and must not, before Keras or anything else reads it.

It may come from anyone. So it may name no code, point to no other file, and claim no more than its own bytes hold.
"""

import json
import math
import mmap
import struct
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import ModelError

MAX_OBJECTS, MAX_DEPTH = 20_000, 20  # groups and datasets of a file, and how deep; a network here has below 300, 5 deep
MAX_COMPRESSION = 1_000  # bytes that one byte of a file can stand for, at the most
_HEAP = b"GCOL\x01\0\0\0"
MAX_BYTES = 1e30  # of a calibration's numbers, far beyond any
CODE = ("Lambda", "__lambda__", "function", "__typespec__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
SAVE = "save it again from the Keras that made it, without Lambda or custom layers"

_TYPES = {
    "cosmology": str,
    "extinction_corrected": bool,
    "flux_unit": str,
    "grid": dict,
    "history": list,
    "kind": str,
    "label": str,
    "parameters": int,
    "seed": int,
    "stages": list,
    "survey": dict,
    "tables": str,
    "targets": dict,
    "trained_on": dict,
    "versions": dict,
}


def heaps(path: Path) -> None:
    """Refuse a file whose heaps of text lead nowhere: HDF5 goes round for ever in one that holds an object of no size.

    HDF5 File Format Specification 3.0, section III.E: a collection begins with GCOL, version 1 and its size; then come
    objects of index, references and size, index 0 being the free space at the end.

    Raises
    ------
    ModelError
    """
    if not path.stat().st_size:
        return  # HDF5 says what it is not
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_HEAP)
        while start >= 0:
            size = int.from_bytes(content[start + 8 : start + 16], "little")
            place, end = start + 16, start + size
            while place + 16 <= end:
                index, length = struct.unpack("<H6xQ", content[place : place + 16].ljust(16, b"\0"))
                step = 16 + -(-length // 8) * 8 if index else length
                if not step or place + step > end:
                    raise _wrong(path, "whole heaps of text", f"one of {size:,} bytes at byte {start:,} that is not")
                place += step
            start = content.find(_HEAP, start + 8)


def structure(path: Path, file) -> None:
    """Walk through an HDF5 file; `file` as h5py opens it.

    Raises
    ------
    ModelError
        If something in it lies elsewhere (links, external and virtual datasets), is not stored, or goes too deep.
    """
    import h5py

    waiting, seen = [("", file, 0)], set()
    while waiting:
        where, group, depth = waiting.pop()
        for name in group:
            inner, link = f"{where}/{name}", group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _wrong(path, "a file whole in itself", f"{inner}, a link elsewhere")
            part = group[name]
            number = h5py.h5o.get_info(part.id).addr
            if number in seen or len(seen) > MAX_OBJECTS or depth > MAX_DEPTH:
                raise _wrong(path, "a plain tree of groups", f"{inner[:60]} {depth} deep, or a second time")
            seen.add(number)
            if isinstance(part, h5py.Group):
                waiting.append((inner, part, depth + 1))
            elif not isinstance(part, h5py.Dataset) or part.dtype.kind not in "fiub":
                raise _wrong(path, "numbers", f"{inner} of other things")
            elif part.external or part.is_virtual or part.nbytes > MAX_COMPRESSION * part.id.get_storage_size():
                raise _wrong(path, "numbers stored in the file", f"{inner} of shape {part.shape}, which is not there")


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
        raise _wrong(path, "a network described in JSON", type(error).__name__) from error
    widest = [1]

    def look(name: str, part) -> None:
        if not hasattr(part, "shape"):
            return
        widest.append(max(part.shape, default=1))
        if part.dtype.kind == "f" and not np.isfinite(part[()]).all():
            raise _wrong(path, "weights that are numbers", f"NaN or infinity in {name}")

    if "model_weights" in file:
        file["model_weights"].visititems(look)
    for value in _parts(path, [config, training]):
        module, name = value.get("module"), value.get("class_name")
        foreign = module is not None and not (isinstance(module, str) and module.split(".")[0] == "keras")
        registered = value.get("registered_name")
        if foreign or name in CODE or (isinstance(registered, str) and ">" in registered):
            raise _wrong(
                path,
                "a model that Keras opens in safe mode without custom objects",
                f"{name if name in CODE else registered or f'{module}.{name}'!r}",
                SAVE,
            )
        for size in ("units", "filters", "output_dim"):
            wanted = value.get(size, 1)
            if type(wanted) is not int or not 0 < wanted <= max(widest):
                raise _wrong(path, f"{size} up to {max(widest):,}, as its weights have", repr(wanted))


def _parts(path: Path, nested: list) -> list[dict]:
    """All dictionaries in a configuration."""
    found, waiting, count = [], list(nested), 0
    while waiting:
        one, count = waiting.pop(), count + 1
        if count > 1_000_000:
            raise _wrong(path, "a network of sensible size", "more than a million words")
        if isinstance(one, dict):
            found.append(one)
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return found


def about(path: Path, found: dict) -> dict:
    """Refuse a description whose words are not what later rooms take them for.

    Raises
    ------
    ModelError
    """
    for name, kind in _TYPES.items():
        if found.get(name) is not None and type(found[name]) is not kind:
            raise _wrong(path, f"{name} as {kind.__name__} in its description", repr(found[name]))
    if not 0 <= (found.get("seed") or 0) < 1 << 32:
        raise _wrong(path, "a seed from 0 to 4294967295", repr(found["seed"]))
    if "step" in (found.get("grid") or {}):
        step = found["grid"]["step"]
        if type(step) not in (int, float) or not 1e-5 <= step <= 1e-2:
            raise _wrong(path, "a grid step between 1e-5 and 1e-2 dex", repr(step))
    if any(not isinstance(row, dict) for name in ("history", "stages") for row in found.get(name) or ()):
        raise _wrong(path, "history and stages as rows", "others")
    trained = found.get("trained_on") or {}
    for name in trained and ("objects", "spectra"):
        if type(trained.get(name)) is not int:
            raise _wrong(path, f"the number of {name} it was trained on", repr(trained.get(name)))
    for name in trained and ("redshift", "sn", "label"):
        ends = trained.get(name)
        if ends is not None and not (isinstance(ends, list) and len(ends) == 2 and all(map(_number, ends))):
            raise _wrong(path, f"two ends of {name} it was trained on", repr(ends))
        trained.setdefault(name, None)
    return found


def _number(value: object) -> bool:
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
        if not fits or not (name in unknown or (np.abs(value) <= MAX_BYTES).all()):
            got = f"one of shape {value.shape}" if not fits else "NaN, infinity or larger numbers in it"
            raise _wrong(path, f"a calibration with {name} of ({letters})", got, "calibrate the model again")


def _wrong(path: Path, expected: str, got: str, do: str = "save, copy or download it again") -> ModelError:
    return ModelError(path, expected=expected, got=got[:200], do=do)
