"""Says at the end what became of all mutations."""

import sys

if sys.platform == "win32":  # which has no limits on memory and no timer of a process's own
    collect_ignore_glob = ["test_*.py"]
else:
    import watch


def pytest_terminal_summary(terminalreporter) -> None:
    if sys.platform == "win32" or not watch.TALLIES:
        return
    terminalreporter.section("mutations")
    for what, tally in watch.TALLIES.items():
        number = sum(tally.outcomes.values())
        terminalreporter.line(
            f"{what}: {number:,} in {tally.seconds:.0f} s, the slowest {tally.slowest:.2f} s, "
            f"at most {tally.memory / 1e6:.0f} MB"
        )
        for outcome, count in sorted(tally.outcomes.items(), key=lambda entry: -entry[1]):
            if count:
                terminalreporter.line(f"    {count:6,}  {outcome}")
