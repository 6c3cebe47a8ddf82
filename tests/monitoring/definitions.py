"""definitions.py DIRECTORY: holds the PodMonitor and the PrometheusRule to the definitions of the Prometheus Operator.
A member that a definition does not have would be dropped by the API server, so it is an error here."""

import pathlib
import sys

import jsonschema
import yaml


def strict(schema):
    """Returns the schema with every object closed that lists its members."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(part) for name, part in schema.items()}
    if isinstance(closed.get("properties"), dict) and not closed.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


definitions = {}
for path in pathlib.Path(sys.argv[1]).glob("*.yaml"):
    definition = yaml.safe_load(path.read_text())["spec"]
    for version in definition["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        # The API server checks the metadata itself.
        schema["properties"]["metadata"] = {"type": "object"}
        definitions[f"{definition['group']}/{version['name']}", definition["names"]["kind"]] = strict(schema)

names = []
for name in ["pod-monitor", "prometheus-rule"]:
    path = pathlib.Path("k8s/components/monitoring") / f"{name}.yaml"
    value = yaml.safe_load(path.read_text())
    schema = definitions[value["apiVersion"], value["kind"]]
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(value))
    for error in errors:
        print(f"{path}: {error.json_path}: {error.message}", file=sys.stderr)
    if errors:
        sys.exit(1)
    # The definition must be able to find something.
    value["spec"]["unknown"] = 1
    assert not jsonschema.Draft202012Validator(schema).is_valid(value), value["kind"]
    names.append(value["kind"])
print(f"Prometheus Operator: {' and '.join(names)} are valid")
