"""Sends the requests of the Go service's README, as its users send them, and checks its words: original.py URL."""

import json
import subprocess
import sys
import time

URL = sys.argv[1]


def curl(*arguments: str) -> dict:
    done = subprocess.run(["curl", "-fsS", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


assert curl("-XGET", f"{URL}/health")["status"] == "healthy"
assert curl(f"{URL}/status") == {"status": "Idle", "logs": []}
started = curl("-XGET", f"{URL}/run")
assert started["status"] == "started" and started["message"] == "SOP execution started" and "time" in started, started
for _ in range(600):
    status = curl(f"{URL}/status")
    if status["status"] != "Running":
        break
    assert {"status", "start_time", "logs"} <= status.keys(), status
    time.sleep(0.1)
assert status["status"] == "Success", status
assert {"start_time", "end_time", "logs"} <= status.keys(), status
print(f"the requests of the original README: answered as they were; {len(status['logs'])} log lines")
