"""Every fixture of the language against its JSON Schema, by PyPI's check-jsonschema.

A schema cannot know what a template names, so it accepts more than the checks do. What must hold:
- it accepts every runbook in which the checks find no error;
- it refuses exactly the fixtures of REFUSED, which are those that a schema can judge.
"""

import json
import pathlib
import subprocess
import sys

REFUSED = """
action_and_call
another_kind_of_file
another_kind_of_workflow
declared_output
each_of_another_type
empty
empty_selection
exactly_one_of
expression_type_mismatch
habits
invalid_enum_value
invalid_for_each
invalid_format
invalid_input
invalid_name
invalid_output
invalid_step_id
invalid_type
limits
limits_of_another_type
literal_type_mismatch
misleading_character
missing_colon
missing_key
missing_parameter
missing_steps
out_of_range
questions
reserved_step_id
runbook_under_a_key
steps_not_a_list
template_not_allowed
template_syntax
too_deep
too_many_findings
unknown_action
unknown_key
unknown_parameter
unknown_runbook
when_not_boolean
""".split()

RUNBOOK_DIRS = ["runbooks", "tests/fixtures/runbooks"]


def judge(tool, schema, files):
    """The files that the schema refuses, and those that are not even YAML to the tool."""
    call = [tool, "-o", "json", "--schemafile", schema, *map(str, files)]
    answer = json.loads(subprocess.run(call, capture_output=True, text=True).stdout)
    refused = {error["filename"]: error for error in answer.get("errors", [])}
    unread = {error["filename"] for error in answer.get("parse_errors", [])}
    return refused, unread


def main(tool):
    failures = []

    metaschema = subprocess.run([tool, "--check-metaschema", "schema/runbook.schema.json"])
    if metaschema.returncode:
        failures.append("schema/runbook.schema.json is no JSON Schema")

    real = [file for directory in RUNBOOK_DIRS for file in sorted(pathlib.Path(directory).glob("*.yaml"))]
    refused, unread = judge(tool, "schema/runbook.schema.json", real)
    failures += [f"{name} is refused: {error}" for name, error in refused.items()]
    failures += [f"{name} is not read" for name in unread]

    valid = sorted(pathlib.Path("tests/fixtures/valid").glob("*.yaml"))
    invalid = sorted(pathlib.Path("tests/fixtures/invalid").glob("*.yaml"))
    refused, unread = judge(tool, "tests/editor/fixtures.schema.json", valid + invalid)
    for file in valid:
        if str(file) in refused or str(file) in unread:
            failures.append(f"{file} is valid, and refused: {refused.get(str(file))}")
    for file in invalid:
        has_error = ": error[" in file.with_suffix(".out").read_text()
        if str(file) in refused and not has_error:
            failures.append(f"{file} has no error, and is refused: {refused[str(file)]}")
    names = {pathlib.Path(name).stem for name in refused}
    failures += [f"{name} should be refused" for name in sorted(set(REFUSED) - names)]
    failures += [f"{name} is refused, and not listed" for name in sorted(names - set(REFUSED))]

    judged = len(valid) + len(invalid) - len(unread)
    print(f"check-jsonschema: {judged + len(real)} runbooks judged, {len(names)} refused, as they should be"
          if not failures else "\n".join(failures))
    return bool(failures)


sys.exit(main(sys.argv[1]))
