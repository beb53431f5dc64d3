"""Print how many lines of each room the tests ran, from the JSON of SlipCover: `python .ci/coverage.py coverage.json`.

Lines that only other processes ran (workers, the command line started by a test) count as not run.
"""

import json
import sys
from collections import Counter
from pathlib import Path


def main(file: str) -> None:
    """Print a line per room, the least covered first, and the total."""
    ran, lines = Counter(), Counter()
    for name, about in json.loads(Path(file).read_text(encoding="utf-8"))["files"].items():
        room = Path(name).as_posix().partition("src/vol2vol/")[2].partition("/")[0]
        covered, missing = about["summary"]["covered_lines"], about["summary"]["missing_lines"]
        for key in (room, "all of vol2vol"):
            ran[key] += covered
            lines[key] += covered + missing
    for room in sorted(lines, key=lambda room: (room == "all of vol2vol", ran[room] / max(lines[room], 1))):
        print(f"{100 * ran[room] / max(lines[room], 1):5.1f} % of {lines[room]:6} lines  {room}")


main(sys.argv[1])
