"""Reads /metrics of a service as Prometheus would, with the parsers of prometheus_client and with promtool.

Arguments: the program, and promtool or an empty text.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

FAILS = """
name: fails
steps:
  - {id: pause, action: sleep, with: {duration: 1s}}
  - {id: check, action: assert, with: {that: "{{ 1 == 2 }}", message: "one is not two"}}
"""
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
# As Prometheus 3 sends it.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def get(url, accept=None, method="GET"):
    headers = {"Accept": accept} if accept else {}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method), timeout=30)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return response.status, response.headers.get("content-type"), response.read().decode()


def samples_of(families):
    def key(sample):
        # 5 in one format is 5.0 in the other.
        labels = {name: str(float(value)) if name == "le" else value for name, value in sample.labels.items()}
        return (sample.name, *sorted(labels.items()))

    return {key(sample): sample for family in families for sample in family.samples}


def run(url, runbook):
    status, _, body = get(f"{url}/run?runbook={runbook}", method="POST")
    assert status == 200, body
    deadline = time.monotonic() + 120
    while json.loads(get(f"{url}/status")[2])["status"] == "Running":
        assert time.monotonic() < deadline, "the run does not end"
        time.sleep(0.1)


def check(url, metrics_url, promtool):
    run(url, "relay-scale")
    run(url, "fails")
    assert get(f"{url}/run?runbook=no-such-runbook", method="POST")[0] == 404
    assert get(f"{url}/no/such/route")[0] == 404

    status, kind, text = get(f"{url}/metrics", ACCEPT)
    assert (status, kind) == (200, OPEN_METRICS), (status, kind)
    families = list(openmetrics.text_string_to_metric_families(text))
    samples = samples_of(families)

    def value(name, **labels):
        return samples[name, *sorted(labels.items())].value

    assert value("sop_runs_total", runbook="relay-scale", result="succeeded") == 1
    assert value("sop_runs_total", runbook="fails", result="failed") == 1
    assert value("sop_run_state", runbook="fails", state="failed") == 1
    assert value("sop_run_state", runbook="relay-scale", state="succeeded") == 1
    ended = samples["sop_runs_total", ("result", "failed"), ("runbook", "fails")]
    assert ended.exemplar.labels["run"].endswith(tuple("0123456789abcdef")), ended.exemplar
    assert value("sop_runbook_valid", runbook="fails") == 1
    assert value("sop_steps_total", action="assert", result="failed") == 1
    assert value("sop_http_requests_total", route="/run", method="POST", code="404") == 1
    assert value("sop_http_requests_total", route="other", method="GET", code="404") == 1
    assert value("sop_lease_held") == 0
    assert value("sop_lease_losses_total") == 0
    assert value("sop_journal_errors_total", store="directory") == 0
    names = {family.name for family in families}
    for name in ("sop_build", "sop_run_duration_seconds", "sop_api_requests", "sop_wait_seconds", "sop_changes"):
        assert name in names, f"{name} is not among {sorted(names)}"
    assert "no-such-runbook" not in text and "ip-10-" not in text, "a name of a request, or of a node"

    status, kind, plain = get(f"{url}/metrics", "text/plain")
    assert (status, kind) == (200, TEXT), (status, kind)
    missing = samples_of(families).keys() - samples_of(text_string_to_metric_families(plain)).keys()
    assert not missing, sorted(missing)[:5]
    assert get(f"{metrics_url}/metrics")[1] == OPEN_METRICS
    assert get(f"{metrics_url}/status")[0] == 404, "the address of the metrics has nothing else"
    if promtool:
        linted = subprocess.run([promtool, "check", "metrics"], input=plain, capture_output=True, text=True)
        assert linted.returncode == 0, f"promtool check metrics: {linted.stdout}{linted.stderr}"
    print(f"/metrics: {len(families)} metrics and {len(samples)} samples are read by prometheus_client")


def main():
    program, promtool = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        runbooks = Path(directory) / "runbooks"
        runbooks.mkdir()
        (runbooks / "fails.yaml").write_text(FAILS)
        command = [program, "serve", "--simulate", "--speed", "600", "--listen", "127.0.0.1:0"]
        command += ["--metrics-listen", "127.0.0.1:0", "--state-dir", f"{directory}/state", "--runbooks", str(runbooks)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SOP_")}
        service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        try:
            addresses = {}
            while len(addresses) < 2:
                line = service.stderr.readline()
                assert line, "the service does not say where it listens"
                for begin in ("listening on ", "metrics on "):
                    if line.startswith(begin):
                        addresses[begin] = line.removeprefix(begin).strip().removesuffix("/metrics")
            check(addresses["listening on "], addresses["metrics on "], promtool)
        finally:
            service.terminate()
            service.wait()


main()
