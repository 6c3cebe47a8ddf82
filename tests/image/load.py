#!/usr/bin/env python3
"""Compares builds of the program under load, such as one for musl with one for glibc: `load.py NAME=PROGRAM…`.

Each program serves a simulated cluster with three finished runs, each of which has doubled the nodes, and wrk (Debian:
wrk) sends what pages and scripts send. The rounds of the programs take turns. Printed are the medians of the server's
processor time for a request, which is comparable on a busy machine, of the requests in a second, which is not, and the
resident memory at the end.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROUNDS, SECONDS, CONNECTIONS, RUNS = 5, 4, 12, 3
TICKS = os.sysconf("SC_CLK_TCK")
VALIDATE = """
wrk.method = "POST"
local file = io.open("runbooks/relay-scale.yaml")
wrk.body = file:read("*a")
"""
REQUESTS = {"GET /status": "/status", "GET /runs": "/runs", "POST /validate": "/validate"}


class Server:
    def __init__(self, program):
        command = [program, "serve", "--simulate", "--speed", "600", "--listen", "127.0.0.1:0", "--restart-guard", "0s"]
        log = tempfile.NamedTemporaryFile("r")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log.fileno())
        while (address := re.search(r"listening on (http://\S+)\n", Path(log.name).read_text())) is None:
            if self.process.poll() is not None:
                sys.exit(f"{program} does not start: {log.read()}")
            time.sleep(0.01)
        self.address = address.group(1)
        for _ in range(RUNS):
            self.request("/run?again=true", "POST")
            while (status := self.request("/status"))["status"] == "Running":
                time.sleep(0.1)
            if status["status"] != "Success":
                sys.exit(f"{program}: {status['status']}: {status['error']}")

    def request(self, path, method="GET"):
        request = urllib.request.Request(self.address + path, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def processor_time(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) / 1024

    def load(self, what, script):
        arguments = ["-s", script] if what.startswith("POST") else []
        before = self.processor_time()
        command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{SECONDS}s", *arguments]
        command.append(self.address + REQUESTS[what])
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in output or "Socket errors" in output:
            sys.exit(output)
        count = int(re.search(r"(\d+) requests in", output).group(1))
        return (self.processor_time() - before) / count * 1e6, count / SECONDS


programs = dict(argument.split("=", 1) for argument in sys.argv[1:])
servers = {name: Server(program) for name, program in programs.items()}
try:
    for name, server in servers.items():
        print(f"{name}: {server.memory():.1f} MiB after {RUNS} simulated runs")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(VALIDATE)
        script.flush()
        for what in REQUESTS:
            figures = {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, server in servers.items():
                    figures[name].append(server.load(what, script.name))
            for name, rounds in figures.items():
                cost, rate = (statistics.median(column) for column in zip(*rounds))
                print(f"{what}: {name}: {cost:.0f} us of processor time a request, {rate:.0f} requests a second")
    for name, server in servers.items():
        print(f"{name}: {server.memory():.1f} MiB at the end")
finally:
    for server in servers.values():
        server.process.terminate()
        server.process.wait(60)
