"""The text of the column FLAGS: what doubts a mass most stands first."""

from collections.abc import Iterable

# Words of the flags. With the first ones the mass is probably wrong, with the last ones it hardly differs; flags that
# are not named here stand between.
GRAVE = (
    "luminosity of no quasar",
    "lines shifted",
    "no broad lines",
    "class ",
    "redshift with",  # the survey's own doubt
    "ZWARN",
    "redshift outside training",
    "unlike training",
    "luminosity outside training",
    "gap at",
    "many bad pixels",
    "broad absorption",
    "BAL quasar",
    "Mg II not seen",
    "S/N outside training",
)
MILD = ("training range unknown", "no extinction known", "E(B-V)", "assumed")
_RANKS = [*enumerate(GRAVE), *enumerate(MILD, len(GRAVE) + 1)]


def joined(flags: Iterable[str]) -> str:
    """Flags as one text, each once, by their weight; empty ones are left out.

    Examples
    --------
    >>> joined(["unit assumed: Angstrom", "gap at Mg II", "", "class GALAXY", "gap at Mg II"])
    'class GALAXY; gap at Mg II; unit assumed: Angstrom'
    """
    return "; ".join(sorted(dict.fromkeys(filter(None, flags)), key=_rank))


def _rank(flag: str) -> int:
    return next((rank for rank, words in _RANKS if words in flag), len(GRAVE))
