"""What a mirror serves must not pass for the sky if it says itself that it is simulated.

The files of a simulation carry that in them: the mass table in its title, DR16Q and the spec files as SIMULATE = T in
their first header. A folder into which such files are fetched gets a `survey.json` that says so, before the first of
them takes its name; `pipeline` and all that follows read it there.
"""

import json

from quasar_mass.core.errors import SurveyError
from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import Survey
from quasar_mass.fetch.verify import says_simulated

FETCHED = "fetched"
NOTE = (
    "Fetched from a mirror whose files say that they are simulated; no number made from them says anything of the sky."
)


def settle(survey: Survey, simulated: bool, mirror: str | None) -> None:
    """Take down that a survey's content is simulated, or refuse to mix it with the sky.

    Raises
    ------
    SurveyError
        If the folder is of the other kind already.
    """
    if (survey.kind == "simulated") == simulated:
        return
    catalogues = (path for path in (survey.chen, survey.dr16q) if path.exists())
    others = survey.quasars.exists() or survey.spectra.exists() or not all(map(says_simulated, catalogues))
    if not simulated or others:
        got, here = ("simulated", "the sky") if simulated else ("the sky's", "a simulation")
        do = "fetch into another --survey"
        raise SurveyError(survey.folder, expected=f"files of {here}, as all else there", got=f"{got} files", do=do)
    with atomic_write(survey.card) as temporary:
        about = {"kind": "simulated", "origin": FETCHED, "from": mirror or "the public addresses", "note": NOTE}
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def refuse_simulation(survey: Survey) -> None:
    """Keep downloads out of a folder that `simulate` made.

    Raises
    ------
    SurveyError
        If this is one.
    """
    about = survey.about()
    if about["kind"] == "simulated" and about.get("origin") != FETCHED:
        do = "choose another --survey, for example data"
        raise SurveyError(survey.folder, expected="a folder for downloads", got="a simulated survey", do=do)
