#!/usr/bin/env python3
"""Compares the program with others that check or run files of steps, as whole processes.

    benches/compare.py target/release/rafay-relay-sop --zizmor zizmor --chaos chaos --dagu dagu

A program that is not given is left out. Each command runs once to warm up, then RUNS times; the tables have the median
with the shortest and the longest, and the largest memory of one run more, which is read each millisecond: that of the
process itself, not of those that it starts. What takes longer than LONG seconds runs once only. The commands of a row
take turns, so that another load on the machine meets all of them. What a row compares, and what it does not, is in
docs/performance.md.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = 5
# What takes longer than this many seconds is run once.
LONG = 20
SIZES = (1, 100, 1000)
ROOT = pathlib.Path(__file__).resolve().parent.parent
RELAY_SCALE = ROOT / "runbooks/relay-scale.yaml"


class Command:
    """A command that is started in the temporary directory, and how it may end."""

    def __init__(self, arguments, environment=None, codes=(0,)):
        self.arguments = [str(argument) for argument in arguments]
        self.environment = {**clean_environment(), **(environment or {})}
        self.codes = codes

    def start(self, output=subprocess.DEVNULL):
        return subprocess.Popen(
            self.arguments,
            env=self.environment,
            cwd=self.environment["HOME"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not subprocess.DEVNULL else output,
        )

    def warm_up(self):
        """Runs it once, and returns how long that took. Fails with its output where it does not work."""
        begin = time.perf_counter()
        process = self.start(subprocess.PIPE)
        output = process.communicate()[0].decode(errors="replace")
        if process.returncode not in self.codes:
            sys.exit(f"{self.arguments} ends with {process.returncode}:\n{output}")
        return time.perf_counter() - begin

    def time(self):
        begin = time.perf_counter()
        process = self.start()
        process.wait()
        return time.perf_counter() - begin

    def memory(self):
        """Returns the largest resident memory in MiB, or None for a process too short to be read."""
        process = self.start()
        largest = None
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/status") as status:
                    lines = [line.split() for line in status if line.startswith("VmHWM:")]
                largest = int(lines[0][1]) / 1024 if lines else largest
            except OSError:
                pass
            time.sleep(0.001)
        return largest


def clean_environment():
    """Returns an environment that leads no program to a cluster, to an account or to the files of a user."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": HOME, "TMPDIR": HOME, "NO_COLOR": "1"}


def text_of(seconds):
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1000, "ms")
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def figure(times, memory):
    spread = f"{text_of(min(times))} to {text_of(max(times))}"
    memory = "" if memory is None else f", {memory:.0f} MiB"
    return f"{text_of(statistics.median(times))} ({spread}){memory}"


def table(head, rows):
    """Measures the commands of each row in turns and prints the table; None is an empty cell."""
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name, commands in rows:
        first = {command: command.warm_up() for command in commands if command}
        short = [command for command, took in first.items() if took < LONG]
        times = {command: [] for command in short}
        for _ in range(RUNS):
            for command in short:
                times[command].append(command.time())
        cells = [""] * len(commands)
        for index, command in enumerate(commands):
            if command in short:
                cells[index] = figure(times[command], command.memory())
            elif command:
                cells[index] = f"{text_of(first[command])} (one run)"
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print()


def steps_of(count):
    return "1 step" if count == 1 else f"{count:,} steps"


def asserts(steps):
    head = "name: asserts\ninputs:\n  n: {type: integer, default: 1}\nsteps:\n"
    step = '  - id: s{}\n    action: assert\n    with: {{that: "{{{{ inputs.n > 0 }}}}", message: no}}\n'
    return head + "".join(step.format(number) for number in range(steps))


def workflow(steps, size):
    """Returns a GitHub workflow of so many steps and about that many bytes, in which zizmor finds nothing."""
    text = (
        "name: relay-scale\non: workflow_dispatch\npermissions: {}\nconcurrency:\n"
        "  group: relay-scale\n  cancel-in-progress: false\njobs:\n"
        "  scale:\n    name: Scale the relay\n    runs-on: ubuntu-24.04\n    timeout-minutes: 60\n    steps:\n"
    )
    for number in range(steps):
        text += (
            f"      - name: Step {number} of the procedure\n        id: s{number}\n"
            f"        if: ${{{{ success() && github.run_attempt == 1 }}}}\n"
            f"        env:\n          BEFORE: ${{{{ steps.s{max(number - 1, 0)}.outputs.count }}}}\n"
            f"        run: |\n          echo \"count=$((BEFORE + 1))\" >> \"$GITHUB_OUTPUT\"\n"
        )
        missing = size * (number + 1) // steps - len(text)
        while missing > 0:
            line = f"          echo 'waiting for the nodes of the group {number}'\n"
            text += line
            missing -= len(line)
    return text


def experiment(steps):
    """Returns an experiment of Chaos Toolkit: so many actions that call a function of Python that does nothing."""
    provider = {"type": "python", "module": "os", "func": "getpid"}
    method = [{"type": "action", "name": f"s{number}", "provider": provider} for number in range(steps)]
    return json.dumps({"title": "nothing", "description": "nothing", "method": method})


def dag(steps, step):
    """Returns a DAG of dagu, whose steps run one after the other."""
    return "type: chain\nsteps:\n" + "".join(f"  - {{name: s{n}, {step}}}\n" for n in range(steps))


def version(program, *arguments):
    result = subprocess.run([program, *arguments], capture_output=True, text=True, env=clean_environment())
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[-1] if lines else "unknown"


def print_conditions(options):
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(": ", 1)[1]
    load = " ".join(pathlib.Path("/proc/loadavg").read_text().split()[:3])
    versions = [version(options.program, "--version")]
    if options.zizmor:
        versions.append(version(options.zizmor, "--version"))
    if options.chaos:
        versions.append(version(options.chaos, "--version").replace("chaos, version", "chaostoolkit"))
    if options.dagu:
        versions.append("dagu " + version(options.dagu, "version"))
    print(
        f"Measured on {os.cpu_count()} cores ({model}, {platform.system()} {platform.release()}), load average {load} "
        f"at the start, with {options.program}. Medians of {RUNS} whole processes, in parentheses the shortest and the "
        f"longest, after one that is not counted; then the largest memory.\n\n{'; '.join(versions)}\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="rafay-relay-sop; with rafay-relay-sop-validate, checks only")
    for other in ("zizmor", "chaos", "dagu"):
        parser.add_argument(f"--{other}", metavar="PROGRAM")
    options = parser.parse_args()
    for name, program in vars(options).items():
        if program and not shutil.which(program):
            sys.exit(f"{name}: {program} is not a program")
        if program:
            # The commands start in another directory.
            setattr(options, name, os.path.abspath(shutil.which(program)))
    print_conditions(options)
    home = pathlib.Path(HOME)
    is_validator = options.program.endswith("-validate")

    def write(name, text):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def validate(path):
        return Command([options.program, *([] if is_validator else ["validate"]), path])

    def zizmor(path):
        # Of what is offline, the default. Findings are not a failure.
        arguments = [options.zizmor, "--offline", "--no-progress", "--quiet", "--no-exit-codes", path]
        return Command(arguments) if options.zizmor else None

    def chaos(subcommand, path):
        settings = write("chaos.yaml", "{}\n")
        arguments = [options.chaos, "--no-version-check", "--settings", settings, "--log-file", home / "chaos.log"]
        arguments += [subcommand]
        if subcommand == "run":
            arguments += ["--journal-path", home / "journal.json"]
        return Command([*arguments, path]) if options.chaos else None

    def dagu(subcommand, path):
        environment = {"DAGU_HOME": str(home / "dagu"), "DAGU_TELEMETRY_ENABLED": "false"}
        return Command([options.dagu, subcommand, path], environment) if options.dagu else None

    def run(path):
        state = home / "state"
        return Command([options.program, "--state-dir", state, "run", path, "--yes", "--no-plan"])

    size = RELAY_SCALE.stat().st_size
    steps = RELAY_SCALE.read_text().count("\n  - id: ")
    rows = [
        (
            f"relay-scale, and a workflow with as many steps ({steps}) and bytes ({size:,})",
            [validate(RELAY_SCALE), zizmor(write("w/.github/workflows/relay-scale.yml", workflow(steps, size)))],
        )
    ]
    for count in SIZES[1:]:
        text = asserts(count)
        workflow_file = write(f"w{count}/.github/workflows/steps.yml", workflow(count, len(text)))
        rows.append((steps_of(count), [validate(write(f"a{count}/asserts.yaml", text)), zizmor(workflow_file)]))
    if options.zizmor:
        table(["checks", "`validate`", "`zizmor --offline`"], rows)

    def runbook(count):
        return write(f"{count}/asserts.yaml", asserts(count))

    def experiment_file(count):
        return write(f"experiment-{count}.json", experiment(count))

    def dag_file(count, name="true"):
        step = {"true": "command: 'true'", "log": "type: log, with: {message: 'yes'}"}[name]
        return write(f"{name}-{count}.yaml", dag(count, step))

    rows = []
    for count in SIZES:
        commands = [
            validate(runbook(count)),
            chaos("validate", experiment_file(count)),
            dagu("validate", dag_file(count)),
        ]
        rows.append((steps_of(count), commands))
    table(["checks", "`validate`", "`chaos validate`", "`dagu validate`"], rows)
    if is_validator:
        return
    rows = []
    for count in SIZES:
        commands = [
            run(runbook(count)),
            chaos("run", experiment_file(count)),
            dagu("start", dag_file(count, "log")),
            dagu("start", dag_file(count)),
        ]
        rows.append((steps_of(count), commands))
    head = ["runs", "`run`, `assert`", "`chaos run`, `os.getpid`", "`dagu start`, `log`", "`dagu start`, `true`"]
    table(head, rows)


with tempfile.TemporaryDirectory() as HOME:
    main()
