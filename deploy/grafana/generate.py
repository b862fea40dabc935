"""Writes the dashboards, or with --check says which of them are not current. See scripts/generate-dashboards."""

import sys

from deploy.grafana.boards import HERE, documents


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: generate-dashboards [--check]", file=sys.stderr)
        return 2
    wanted = documents()
    there = set((HERE / "dashboards").glob("*.json"))
    stale = [path for path, text in wanted.items() if path not in there or path.read_text("utf-8") != text]
    left = sorted(there - wanted.keys())
    if arguments:
        for path in [*stale, *left]:
            print(f"{path.name} is not current: run scripts/generate-dashboards", file=sys.stderr)
        return 1 if stale or left else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path], "utf-8")
    for path in left:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
