"""Prints at the end what became of all damaged files."""

import sys

if sys.platform == "win32":  # which has no limits on memory and no timer of a process's own
    collect_ignore_glob = ["test_*.py"]
else:
    import watch

    def pytest_terminal_summary(terminalreporter) -> None:
        for what, outcomes in watch.OUTCOMES.items():
            counts = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common() if count > 0)
            terminalreporter.line(f"damaged {what}: {counts}")
