"""A runbook tried out without servers: the engine as it is, in a world that a scenario describes, on a virtual clock.

    read_scenarios(text) ──► Scenario ──rehearse──► Rehearsal: what happened, and what was expected and did not
    explore(spec) ──► Matrix: every step with everything that can go wrong there, and how each path ends

Whatever a scenario does not mention goes well: actions take effect, checks hold, people agree and do their part, the
alert ends after the last step. Pure, as the engine is: the same text gives the same story.
"""
