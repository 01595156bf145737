"""List the commands: ``python -m quasar_mass``."""

import sys

from quasar_mass import __version__

COMMANDS = {
    "get-chen-data": ("python get_Chen_data.py", "get a survey", ("status", "simulate", "fetch", "build", "convert")),
    "quasar-analysis": (
        "python quasar_analysis.py",
        "predict masses, and evaluate networks",
        ("evaluate", "predict", "calibrate", "explain", "report", "virial", "export"),
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Print the commands and their verbs, or the version; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"quasar-mass-ml {__version__}")
        return 0
    for name, (script, purpose, verbs) in COMMANDS.items():
        print(f"{name} (in the repository: {script}): {purpose}")
        print(f"    {', '.join(verbs)}")
    print("VERB --help explains a verb and shows an example; --version prints the version.")
    return 0 if not arguments or arguments == ["--help"] else 2


if __name__ == "__main__":
    sys.exit(main())
