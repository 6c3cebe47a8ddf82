//! Long runbooks and long histories, for measurements and for what is counted.

use std::{fmt::Write as _, fs, path::Path};

/// Returns a runbook of that many asserts, each of which reads an input.
pub fn asserts(steps: usize) -> String {
    let mut text = "name: asserts\ninputs:\n  n: {type: integer, default: 1}\nsteps:\n".to_owned();
    for step in 0..steps {
        let _ = writeln!(
            text,
            "  - id: s{step}\n    action: assert\n    with: {{that: \"{{{{ inputs.n > 0 }}}}\", message: no}}"
        );
    }
    text
}

/// Returns a runbook of that many steps, each of which uses the output of the step before it, so that the flow of data
/// through all of it is checked. Ten thousand of them just fit into the largest file that is read.
pub fn waits(steps: usize) -> String {
    let mut text = String::from(
        "name: waits\nsteps:\n\
         - {id: g, action: find_nodegroup, with: {region: us-west-2, cluster: c, labels: {a: b}}}\n\
         - {id: s1, action: wait_nodes, with: {nodegroup: '{{ g }}', count: 1}}\n",
    );
    for step in 2..steps {
        let before = step - 1;
        let _ = writeln!(
            text,
            "- {{id: s{step}, action: wait_nodes, with: {{nodegroup: '{{{{ g }}}}', \
             count: '{{{{ s{before}.count + 1 }}}}'}}}}"
        );
    }
    text
}

/// Makes that many copies of the first journal of a directory. The name of a run is in the name of its journal only.
pub fn copy_journal(journals: &Path, copies: usize) {
    let mut entries = fs::read_dir(journals).unwrap();
    let first = entries.next().and_then(Result::ok).expect("there is a journal").path();
    for number in 0..copies {
        let (hour, minute, second) = (number / 3600, number / 60 % 60, number % 60);
        let name = format!("20260101t{hour:02}{minute:02}{second:02}z-copy-{number:04x}.jsonl");
        fs::copy(&first, journals.join(name)).unwrap();
    }
}
