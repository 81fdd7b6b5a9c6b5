"""Run the tests of what differs from the last commit, without the slow ones: ``make quick``.

``pipeline/<package>/x.py`` is tested by ``tests/<package>/test_x.py``, or by the whole of ``tests/<package>`` where
there is no such file; ``PLACES`` has what lies elsewhere. Further words are passed on to pytest.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
STAGES = ("tests/stages", "tests/test_stages.py")
"""Where the stages, ``pipeline/*.py``, and what has no tests of its own are tested."""
PLACES = {
    "README.md": ["tests/test_readme.py"],
    "benchmarks": ["tests/benchmarks"],
    "docs/make_studies.py": ["tests/test_studies.py"],
    "dvc.yaml": ["tests/test_dvc.py"],
    "params.yaml": ["tests/test_params.py", "tests/test_studies.py"],
    "pipeline/settings": ["tests/test_params.py"],
    "pyproject.toml": ["tests/commands/test_commands.py"],
    "studies": ["tests/test_studies.py"],
}
"""Files and folders whose tests have another name."""


def changed() -> list[str]:
    """Name the files that differ from the last commit, new ones included."""
    differing = ["git", "diff", "--name-only", "HEAD"], ["git", "ls-files", "--others", "--exclude-standard"]
    return [
        name
        for command in differing
        for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    ]


def tests_of(name: str) -> list[str]:
    """Name the test files and folders of a file of the project, all of which exist."""
    path = PurePosixPath(name)
    places = next((PLACES[str(p)] for p in (path, *path.parents) if str(p) in PLACES), [])
    if path.parts[0] == "tests":
        tests = path.suffix == ".py" and path.name.startswith("test_")
        places = [name] if tests else [str(path.parent)] if len(path.parts) > 2 else []
    elif path.parts[0] == "pipeline" and not places:
        place = PurePosixPath("tests", *path.parts[1:-1])
        own = [str(place / f"test_{path.stem}.py"), str(place / "stages" / f"test_{path.stem}.py")]
        places = [each for each in own if (ROOT / each).exists()]
        while not places and len(place.parts) > 1:
            places = [str(place)] if (ROOT / place).exists() else []
            place = place.parent
        places = places or [*STAGES]
    return [place for place in places if (ROOT / place).exists()]


def without_repeats(places: Iterable[str]) -> list[str]:
    """Leave out what another place contains."""
    kept = dict.fromkeys(places)
    return [place for place in kept if not any(str(parent) in kept for parent in PurePosixPath(place).parents)]


def main(words: list[str]) -> int:
    """Run them; return pytest's exit status."""
    places = without_repeats(place for name in changed() for place in tests_of(name))
    if not places:
        print("nothing has changed that has tests of its own; `make test` runs them all")
        return 0
    command = [sys.executable, "-m", "pytest", "-m", "not slow", *words, *places]
    print("$ python " + " ".join(command[1:]), flush=True)
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    return 0 if status == 5 else status  # 5: all of them are slow


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
