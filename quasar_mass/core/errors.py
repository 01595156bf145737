"""The family of errors. Each is one sentence, written for its case, about something that a user can put right."""

from os import PathLike

MAX_CHARACTERS = 500  # of a message: part of it may be quoted from a file


class QuasarMassError(Exception):
    """Something that a user can put right, said in one sentence.

    Parameters
    ----------
    where : str or path
        The file, table, row, key or option it is about.
    message : str
        What is wrong with it and what to do about it, without a full stop at the end.

    Attributes
    ----------
    where, message : str
        The same two, for programs.
    """

    def __init__(
        self, where: str | PathLike, message: str = "", *, expected: str = "", got: str = "", do: str = ""
    ) -> None:
        self.where, self.message = str(where), message
        self.expected, self.got, self.do = expected, got, do
        if not message:
            got = got if len(got) <= MAX_CHARACTERS else f"{got[:MAX_CHARACTERS]}..."
            self.message = f"expected {expected}, got {got}; {do}"
        super().__init__(_printable(f"{self.where}: {self.message}."))

    def __reduce__(self):
        """Travel between processes whole (exceptions with keyword arguments do not by themselves)."""
        return _again, (type(self), str(self), self.__dict__)


def _again(kind: type, text: str, attributes: dict) -> QuasarMassError:
    error = kind.__new__(kind)
    error.__dict__.update(attributes)
    Exception.__init__(error, text)
    return error


def _printable(text: str) -> str:
    """One line that a terminal can show, whatever a file's content or name puts into it."""
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
        self, where: str | PathLike, message: str = "", *, reason: str = "", missing: bool = False, **form: str
    ) -> None:
        self.reason, self.missing = reason or message or form.get("got", ""), missing
        super().__init__(where, message, **form)


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

    def __init__(self, where: str | PathLike, message: str = "", *, reason: str, **form: str) -> None:
        if reason not in self.REASONS:
            raise ValueError(f"reason must be one of {self.REASONS}, got {reason!r}")
        self.reason = reason
        super().__init__(where, message, **form)
