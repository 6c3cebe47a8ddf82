"""Reads the dashboard with Grafana's own types, and writes it again: what they do not know would be missing then."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = Path(__file__).resolve().parents[2]


def lost(expected, written, path=""):
    """The places of `expected` that are not in `written`. Empty values may be left out."""
    if isinstance(expected, dict) and isinstance(written, dict):
        for key, value in expected.items():
            if key not in written and value not in (None, [], {}, "", False):
                yield f"{path}.{key}"
            elif key in written:
                yield from lost(value, written[key], f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(written, list):
        if len(expected) != len(written):
            yield path
        for index, (one, other) in enumerate(zip(expected, written)):
            yield from lost(one, other, f"{path}[{index}]")
    elif expected != written:
        yield f"{path}: {expected!r} is read as {written!r}"


def main():
    register_default_plugins()
    expected = json.loads((ROOT / "k8s/components/monitoring/dashboard.json").read_text())
    written = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(expected)))
    problems = list(lost(expected, written))
    assert not problems, "the types of Grafana do not know:\n" + "\n".join(problems)
    panels = expected["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids), f"two panels have the same id: {ids}"
    places = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, f"{panel['title']} leaves the grid"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = places.setdefault((x, y), panel["title"])
                assert other == panel["title"], f"{panel['title']} covers {other}"
        if panel["type"] != "row":
            assert panel["description"], f"{panel['title']} has no description"
    print(f"Grafana's types: {len(panels)} panels are read whole")


main()
