//! Checks any text as a template at each place that accepts one (a condition, a parameter of each kind, a message), and
//! evaluates the accepted templates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rafay_relay_sop_fuzz::{check_source, evaluate, registry};
use runbook::Source;

/// The inputs and steps that the template can use.
const HEAD: &str = "name: runbook
inputs:
  factor: {type: integer, default: 2}
  names: {type: list of string, default: [a, b]}
  share: {type: number, default: 0.5}
  maybe: {type: optional string}
  on: {type: boolean, default: true}
steps:
  - {id: config, action: read_config, with: {namespace: rafay-core, name: relay}}
  - {id: group, action: find_nodegroup, when: '{{ inputs.on }}', with: {region: us-west-2, cluster: c, labels: {a: b}}}
  - {id: pods, action: list_pods, with: {namespace: rafay-core, deployment: relay}}
";

/// The places, with `@` in place of the template.
const PLACES: [&str; 7] = [
    "when: @, action: assert, with: {that: true}",
    "action: assert, with: {that: @}",
    "action: assert, with: {that: true, message: @}",
    "action: scale_deployment, with: {namespace: n, deployment: d, replicas: @}",
    "action: cordon, with: {nodes: @}",
    "action: scale_nodegroup, with: {nodegroup: @, desired: 3}",
    "action: sleep, with: {duration: 1s}, log: @",
];

fuzz_target!(|text: &str| {
    // A JSON string is a double-quoted scalar of YAML.
    for template in [format!("{{{{ {text} }}}}"), format!("a {text} {{{{ {text} }}}}")] {
        let scalar = serde_json::json!(template).to_string();
        for place in PLACES {
            let step = place.replace('@', &scalar);
            let source = Source::new("runbook.yaml", format!("{HEAD}  - {{id: here, {step}}}\n"));
            if let Some(runbook) = &check_source(&source, registry()).runbook {
                evaluate(runbook, registry());
            }
        }
    }
});
