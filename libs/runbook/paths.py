"""Paths: how steps inside branches and iterations are named.

A step's path is the ids of the composite steps around it, each with the branch or the number of the iteration, and
its own id: `restart`, `fan/api/restart`, `each/3/drain`. As ids are unique in a runbook, the last part alone says which
step it is. What a path is without its last part is the path of a frame, the state of one sequence: `fan/api`, `each/3`.
"""


def name_of(path: str) -> str:
    """The last part of a path: a step's id; of a frame the branch, or the number of the iteration."""
    return path.rpartition("/")[2]


def around(path: str) -> str:
    """What is around it: of a step its frame, of a frame its composite step; empty for the outermost frame."""
    return path.rpartition("/")[0]


def inside(frame_path: str, name: str) -> str:
    """The path of a step in a frame, or of a frame in a composite step."""
    return f"{frame_path}/{name}" if frame_path else name


def probe_of(path: str) -> str:
    """How the probe of a step is named, which is no step of its own."""
    return f"{path}?"


def probed(path: str) -> str:
    """The step that a probe is about; empty if this is the path of no probe."""
    return path[:-1] if path.endswith("?") else ""
