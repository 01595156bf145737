"""The one family of errors. Each is a single sentence: what was expected, what was found, what to do next."""

from os import PathLike

MAX_CHARACTERS = 500  # characters of what was found that an error repeats


class QuasarMassError(Exception):
    """Something a user can put right, said in one sentence.

    Parameters
    ----------
    where : str or path
        The offending file, table, row or key.
    expected, got, do : str
        What was expected there, what was found instead, and what to do about it.

    Attributes
    ----------
    where, expected, got, do : str
        The same four, for programs.
    """

    def __init__(self, where: str | PathLike, *, expected: str, got: str, do: str) -> None:
        self.where, self.expected, self.got, self.do = str(where), expected, got, do
        super().__init__(_sentence(self))

    def __reduce__(self):
        """Travel between processes whole (exceptions with keyword arguments do not by themselves)."""
        return _again, (type(self), self.__dict__)


def _again(kind: type, attributes: dict) -> QuasarMassError:
    error = kind.__new__(kind)
    error.__dict__.update(attributes)
    Exception.__init__(error, _sentence(error))
    return error


def _sentence(error: QuasarMassError) -> str:
    """All of it in one line that a terminal only shows: what was found may be anything."""
    got = error.got if len(error.got) <= MAX_CHARACTERS else f"{error.got[:MAX_CHARACTERS]}..."
    text = f"{error.where}: expected {error.expected}, got {got}; {error.do}."
    if text.isprintable():
        return text
    text = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough for a sentence: its first line, or else its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class FileError(QuasarMassError):
    """A file is missing, truncated, unreadable, or not the kind of file it should be."""


class TableError(QuasarMassError):
    """A table lacks a column or a row, or holds values that contradict its contract."""


class SurveyError(QuasarMassError):
    """A survey folder is not in the state a command needs."""


class LockError(QuasarMassError):
    """Another process is at work on the same files."""


class ClusterError(QuasarMassError):
    """The machines that were to do the work cannot: no scheduler, no worker, another version, another disk."""


class FetchError(QuasarMassError):
    """Something could not be downloaded, or what came is not what was asked for.

    Attributes
    ----------
    reason : str
        The short reason that the manifest carries, ``what: detail``.
    missing : bool
        The server answered that it has no such file.
    """

    def __init__(
        self, where: str | PathLike, *, expected: str, got: str, do: str, reason: str = "", missing: bool = False
    ) -> None:
        self.reason, self.missing = reason or got, missing
        super().__init__(where, expected=expected, got=got, do=do)


class ModelError(QuasarMassError):
    """A model file cannot be used, or does not fit the data it is given."""


class SpectrumError(QuasarMassError):
    """One spectrum cannot be used.

    Attributes
    ----------
    reason : str
        The short reason that the rejects table and the prediction table carry; one of `REASONS`.
    """

    REASONS = (
        "missing file",
        "unreadable file",
        "not the spectrum named",
        "no redshift",
        "invalid values",
        "no good pixels",
        "does not cover the window",
    )

    def __init__(self, where: str | PathLike, *, reason: str, expected: str, got: str, do: str) -> None:
        if reason not in self.REASONS:
            raise ValueError(f"reason must be one of {self.REASONS}, got {reason!r}")
        self.reason = reason
        super().__init__(where, expected=expected, got=got, do=do)
