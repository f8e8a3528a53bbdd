"""One process of the prototype: `python -m bench.limits.pipeline engine|worker|timeline|stage`."""

import sys

import uvloop

from bench.limits.pipeline import engine, stage, timeline, worker

ROLES = {"engine": engine.run, "worker": worker.run, "timeline": timeline.run, "stage": stage.build}

if __name__ == "__main__":
    uvloop.run(ROLES[sys.argv[1]]())
