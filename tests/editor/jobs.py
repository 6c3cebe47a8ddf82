"""The ready jobs of docs/ci.md, and the project's own workflows, against the schemas of GitHub's and GitLab's files,
which check-jsonschema carries.

`jobs.py PATH-OF-check-jsonschema`
"""

import pathlib
import re
import subprocess
import sys
import tempfile

SCHEMAS = {"GitHub Actions": "vendor.github-workflows", "GitLab": "vendor.gitlab-ci"}


def main(tool):
    document = pathlib.Path("docs/ci.md").read_text()
    count = failures = 0
    with tempfile.TemporaryDirectory() as directory:
        for section in re.split(r"^## ", document, flags=re.M):
            schema = SCHEMAS.get(section.splitlines()[0])
            for block in re.findall(r"^```yaml\n(.*?)^```", section, re.M | re.S) if schema else []:
                count += 1
                file = pathlib.Path(directory, f"job-{count}.yaml")
                file.write_text(block)
                failures += subprocess.run([tool, "-q", "--builtin-schema", schema, str(file)]).returncode
    workflows = sorted(pathlib.Path(".github/workflows").glob("*.yml"))
    for file in workflows:
        schema = SCHEMAS["GitHub Actions"]
        failures += subprocess.run([tool, "-q", "--builtin-schema", schema, str(file)]).returncode
    print(f"docs/ci.md: {count} jobs; .github: {len(workflows)} workflows; {failures} refused")
    return failures > 0 or count < 3 or len(workflows) < 2


sys.exit(main(sys.argv[1]))
