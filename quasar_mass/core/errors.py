"""The errors of this package. Each message is one sentence about a problem that a user can solve."""

import copyreg
import re
from collections import Counter
from collections.abc import Iterable
from os import PathLike

MAX_CHARACTERS = 1000  # of a message: part of it may be quoted from a file


class QuasarMassError(Exception):
    """A problem that a user can solve, described in one sentence.

    Parameters
    ----------
    where : str or path
        The file, table, row, key or option that has the problem.
    message : str
        What is wrong with it and what to do about it, without a full stop at the end.

    Attributes
    ----------
    where, message : str
        The same two, for programs.
    """

    def __init__(self, where: str | PathLike, message: str) -> None:
        self.where = str(where)
        self.reword(message)

    def reword(self, message: str) -> None:
        """Exchange the message, where a caller knows better what to do about the problem."""
        self.message = message if len(message) <= MAX_CHARACTERS else f"{message[:MAX_CHARACTERS]}..."
        self.args = (_printable(f"{self.where}: {self.message}."),)

    def __reduce__(self) -> tuple:
        """Travel between processes (exceptions with keyword arguments do not by themselves)."""
        return copyreg.__newobj__, (type(self), str(self)), self.__dict__


def _printable(text: str) -> str:
    """One line that a terminal can show, whatever part of it is quoted from a file."""
    if text.isprintable():
        return text
    text = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """The first line of another library's error, or else its type: short enough for a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def count_reasons(reasons: Iterable[str]) -> str:
    """How often there is which reason, as short words: ``missing file: 2; no redshift: 1``.

    Parameters
    ----------
    reasons : iterable of str
        Of the column REASON; what stands before the first colon or semicolon counts.
    """
    counts = Counter(re.split("[:;]", reason)[0] for reason in reasons)
    return "; ".join(f"{reason}: {number:,}" for reason, number in counts.most_common())


class FileError(QuasarMassError):
    """A file is missing, truncated, unreadable, or not the kind of file it should be."""


class TableError(QuasarMassError):
    """A table lacks a column or a row, or holds values that contradict its contract."""


class SurveyError(QuasarMassError):
    """A survey folder is not in the state a command needs."""


class LockError(QuasarMassError):
    """Another process writes the same files."""


class ClusterError(QuasarMassError):
    """A cluster cannot do the work: it has no scheduler, no worker, other versions, or another disk."""


class FetchError(QuasarMassError):
    """Something could not be downloaded, or what came is not what was asked for.

    Attributes
    ----------
    reason : str
        The short reason in the manifest, ``what: detail``.
    missing : bool
        The server answered that it has no such file.
    """

    def __init__(self, where: str | PathLike, message: str, *, reason: str = "", missing: bool = False) -> None:
        self.reason, self.missing = reason or message, missing
        super().__init__(where, message)


class ModelError(QuasarMassError):
    """A model file cannot be used, or does not fit the data it is given."""


class SpectrumError(QuasarMassError):
    """One spectrum cannot be used.

    Attributes
    ----------
    reason : str
        The short reason in the tables of rejects and of predictions; one of `REASONS`.
    """

    REASONS = (
        "missing file",
        "unreadable file",
        "not the spectrum named",
        "no redshift",
        "invalid values",
        "no good pixels",
        "does not cover the window",
        "shows neither Mg II nor C IV with C III]",
        "relative flux",
        "another kind of file",
        "bad fiber",
    )

    def __init__(self, where: str | PathLike, message: str, *, reason: str) -> None:
        if reason not in self.REASONS:
            raise ValueError(f"reason must be one of {self.REASONS}, got {reason!r}")
        self.reason = reason
        super().__init__(where, message)
