//! Keys of other tools.

use super::super::document::MappingKind;
use super::folded;

/// The answer to a key of another tool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// The key that is meant, if there is one.
    pub(crate) ours: Option<&'static str>,
    /// Whether the key can be renamed, and its value stays.
    pub(crate) is_rename: bool,
    /// The remedy, where it is more than the key.
    pub(crate) help: &'static str,
}

/// Words that are the same key under another name.
type Renamed = (&'static str, &'static [&'static str]);
/// Words with what to write in their place, and the key that they are for.
type Replaced = (&'static str, &'static str, &'static [&'static str]);

const STEP_RENAMED: &[Renamed] = &[
    ("when", &["if", "condition", "conditions", "onlyif", "runif", "enabled", "guard"]),
    (
        "for_each",
        &[
            "loop",
            "withitems",
            "withlist",
            "withdict",
            "withsequence",
            "withparam",
            "foreach",
            "each",
            "items",
            "iterate",
            "repeat",
        ],
    ),
    (
        "with",
        &[
            "args",
            "params",
            "parameters",
            "arguments",
            "inputs",
            "input",
            "vars",
            "variables",
            "options",
            "properties",
            "config",
            "data",
            "set",
        ],
    ),
    (
        "action",
        &[
            "uses",
            "module",
            "task",
            "type",
            "kind",
            "operation",
            "plugin",
            "function",
            "method",
            "do",
            "actiontype",
            "template",
            "use",
        ],
    ),
    (
        "on_failure",
        &["onfailure", "onerror", "failurepolicy", "onfail", "errorhandling", "iffailed"],
    ),
    (
        "at_once",
        &[
            "parallel",
            "maxparallel",
            "parallelism",
            "concurrency",
            "throttle",
            "serial",
            "batchsize",
            "forks",
            "maxconcurrency",
        ],
    ),
    ("name", &["title", "label", "displayname"]),
    ("description", &["desc", "comment", "doc", "summary", "about"]),
    ("id", &["register", "step", "stepid", "ref", "slug", "key"]),
    (
        "call",
        &[
            "runbook",
            "workflow",
            "include",
            "includetasks",
            "importtasks",
            "importplaybook",
            "templateref",
            "subflow",
            "callrunbook",
        ],
    ),
    ("log", &["message", "echo", "print", "debug", "msg", "logmessage"]),
    ("retry", &["retrystrategy", "retrypolicy"]),
    ("timeout", &["timelimit", "deadline", "maxtime"]),
];

const STEP_REPLACED: &[Replaced] = &[
    (
        "action",
        "write 'action: run_job' to run a program, or the action that does it",
        &[
            "run",
            "command",
            "script",
            "shell",
            "exec",
            "cmd",
            "bash",
            "sh",
            "python",
            "image",
            "container",
        ],
    ),
    (
        "",
        "steps run in the order of the file: remove this key, and put the step below those that it needs",
        &[
            "needs",
            "dependson",
            "dependencies",
            "after",
            "requires",
            "depends",
            "next",
            "before",
            "runafter",
        ],
    ),
    (
        "with",
        "pass the values under 'with': a step has no environment",
        &["env", "environment", "envfrom"],
    ),
    (
        "retry",
        "write 'retry: {attempts: N}'",
        &[
            "retries",
            "retrycount",
            "maxretries",
            "attempts",
            "maxattempts",
            "backofflimit",
            "tries",
        ],
    ),
    (
        "retry",
        "write 'retry: {backoff: 10s}', or a step with the action sleep",
        &["delay", "retrydelay", "backoff", "interval", "maxbackoff", "retryinterval"],
    ),
    (
        "",
        "use an action that waits, such as wait_object, wait_pods or wait_nodes",
        &["until", "waitfor", "wait", "poll", "readywhen"],
    ),
    (
        "timeout",
        "write 'timeout' with a unit, such as 'timeout: 10m'",
        &[
            "timeoutminutes",
            "timeoutseconds",
            "timeoutinminutes",
            "timeoutms",
            "activedeadlineseconds",
            "timeoutinseconds",
        ],
    ),
    (
        "on_failure",
        "write 'on_failure: continue'",
        &[
            "continueonerror",
            "ignoreerrors",
            "allowfailure",
            "continueon",
            "continueonfailure",
            "ignorefailure",
            "ignoreerror",
            "anyerrorsfatal",
            "maycontinue",
        ],
    ),
    (
        "",
        "add a step with the action assert and the condition under 'that'",
        &["failedwhen", "assert", "check", "expect", "verify"],
    ),
    (
        "",
        "remove it: an action reports by itself whether it has changed something",
        &["changedwhen", "checkmode", "diff", "dryrun"],
    ),
    (
        "",
        "write all steps in one list; 'on_failure' says what a failure does",
        &[
            "block", "rescue", "always", "steps", "tasks", "catch", "finally", "then", "else",
            "switch", "branches",
        ],
    ),
    (
        "",
        "remove it: the permissions of a run are those of its service account and its AWS role",
        &[
            "become",
            "becomeuser",
            "becomemethod",
            "sudo",
            "user",
            "role",
            "serviceaccount",
            "serviceaccountname",
            "permissions",
            "credentials",
        ],
    ),
    (
        "",
        "remove it, or write it as a comment: # …",
        &["tags", "labels", "metadata", "annotations", "version", "owner", "author"],
    ),
    (
        "",
        "add a step with the action emit_event",
        &["notify", "handlers", "listen", "onsuccess", "slack", "email", "alert"],
    ),
    (
        "",
        "remove it: the undo is built in; 'on_failure: rollback' undoes the changes of the run",
        &["rollback", "undo", "revert", "compensate", "onrollback", "rollbackstep"],
    ),
    (
        "",
        "remove it, and write 'restore: at_end' beside the change that is to be undone at the end",
        &["cleanup", "teardown", "defer", "restoreatend"],
    ),
    (
        "",
        "remove it: the output of a step follows from its action, and later steps use it as STEP.FIELD",
        &[
            "outputs",
            "output",
            "result",
            "results",
            "export",
            "saveas",
            "set_output",
            "store",
            "returns",
        ],
    ),
    (
        "",
        "add a step with the action wait_approval before this one",
        &["approval", "approve", "manual", "confirm", "prompt", "requiresapproval"],
    ),
    ("", "add a step with the action sleep", &["sleep", "pause"]),
    (
        "",
        "remove it: a run does all its steps where it runs",
        &[
            "runson",
            "runson",
            "host",
            "hosts",
            "node",
            "agent",
            "delegateto",
            "runonce",
            "nodeselector",
            "workingdirectory",
            "cwd",
            "chdir",
            "connection",
        ],
    ),
    (
        "for_each",
        "write 'for_each' with the list of the items",
        &["strategy", "matrix", "loopcontrol", "loopvar"],
    ),
];

const RUNBOOK_RENAMED: &[Renamed] = &[
    ("name", &["title", "id", "runbook", "runbookname"]),
    ("description", &["summary", "desc", "about", "doc", "purpose", "comment"]),
    (
        "inputs",
        &[
            "vars",
            "variables",
            "parameters",
            "params",
            "input",
            "arguments",
            "args",
            "varsprompt",
            "values",
        ],
    ),
    ("steps", &["tasks", "mainsteps", "step", "actions", "procedure", "sequence", "plan"]),
    ("outputs", &["output", "results", "returns", "exports"]),
    ("defaults", &["default", "options", "settings"]),
    ("limits", &["limit", "constraints", "guards", "guardrails", "safety", "budget"]),
];

const RUNBOOK_REPLACED: &[Replaced] = &[
    (
        "steps",
        "write the steps in one list under 'steps'",
        &[
            "jobs",
            "stages",
            "workflow",
            "pipeline",
            "playbook",
            "job",
            "stage",
            "templates",
            "phases",
        ],
    ),
    (
        "",
        "remove it: a runbook has no version of its own, and no kind",
        &["apiversion", "kind", "schemaversion", "version", "schema"],
    ),
    ("name", "write 'name' and 'description' at the top of the file", &["metadata"]),
    ("", "move its keys to the top of the file", &["spec", "definition"]),
    (
        "",
        "remove it: a run is started by `rafay-relay-sop run` or by POST /run",
        &["on", "triggers", "trigger", "schedule", "cron", "when"],
    ),
    (
        "",
        "remove it: a run works on the cluster of its configuration",
        &["hosts", "runson", "agent", "gatherfacts", "connection", "become", "services", "image"],
    ),
    ("", "write it under 'defaults'", &["timeout", "retry", "retries"]),
    (
        "",
        "write 'on_failure: rollback', stop or continue in a step, or under 'defaults': a failure has no steps of its own",
        &["onfailure", "onerror", "rescue", "catch", "errorhandler", "errorhandlers", "onfail"],
    ),
    (
        "",
        "remove it: a run that changes something holds the lease of its cluster, so that there is one at a time",
        &[
            "lock",
            "locks",
            "mutex",
            "concurrency",
            "concurrencypolicy",
            "semaphore",
            "serial",
            "exclusive",
            "strategy",
            "parallelism",
            "maxparallel",
            "lease",
        ],
    ),
    (
        "",
        "remove it: change windows are configured where the program runs as a service, and not in a runbook",
        &[
            "window",
            "windows",
            "maintenancewindow",
            "maintenancewindows",
            "changewindow",
            "changewindows",
            "freeze",
            "blackout",
            "notbefore",
            "notafter",
        ],
    ),
    (
        "",
        "remove it: notifications are configured where the program runs, and not in a runbook",
        &["notify", "notifications", "notification", "slack", "email", "alerts", "webhook"],
    ),
    (
        "inputs",
        "declare the values as inputs",
        &["env", "environment", "locals", "local", "constants"],
    ),
    (
        "",
        "write it in 'description', or as a comment: # …",
        &[
            "author",
            "owner",
            "tags",
            "labels",
            "annotations",
            "team",
            "maintainer",
            "contact",
            "date",
            "license",
            "severity",
        ],
    ),
    (
        "",
        "remove it: the undo is built in; write 'on_failure: rollback' under 'defaults'",
        &["rollback", "undo", "rollbacksteps"],
    ),
    (
        "",
        "write its steps at the end of 'steps'; 'restore: at_end' undoes a change at the end of a run",
        &["finally", "cleanup", "always", "post", "onexit", "handlers", "posttasks"],
    ),
    (
        "",
        "write its steps at the start of 'steps'",
        &["pretasks", "pre", "setup", "preconditions", "prerequisites", "before"],
    ),
    (
        "",
        "write each runbook in a file of its own, and call it with 'call'",
        &["imports", "include", "includes", "roles", "functions", "uses"],
    ),
    ("", "add steps with the action wait_approval", &["approvals", "approvers", "approval"]),
];

const INPUT_RENAMED: &[Renamed] = &[
    ("minimum", &["min", "gte", "atleast", "from"]),
    ("maximum", &["max", "lte", "atmost", "to"]),
    ("min_length", &["minlength", "minitems", "minlen"]),
    ("max_length", &["maxlength", "maxitems", "maxlen"]),
    ("values", &["enum", "choices", "options", "allowed", "allowedvalues", "oneof", "choice"]),
    ("syntax", &["format"]),
    ("description", &["desc", "help", "title", "label", "prompt", "doc", "comment", "summary"]),
    ("default", &["value", "defaultvalue", "initial"]),
];

const INPUT_REPLACED: &[Replaced] = &[
    ("", "remove it: an input without 'default' is required", &["required", "mandatory"]),
    ("", "write 'type: optional T', such as 'type: optional string'", &["optional", "nullable"]),
    (
        "",
        "write 'type: list of T', such as 'type: list of string'",
        &["items", "itemtype", "elements", "of"],
    ),
    (
        "syntax",
        "write 'syntax' with one of its formats, such as kubernetes-name",
        &["pattern", "regex", "validation", "validate", "match"],
    ),
    (
        "",
        "remove it: inputs are in the journal and must not be secrets",
        &["secret", "sensitive", "noecho", "hidden", "private"],
    ),
    ("", "remove it: the key of the declaration is the name of the input", &["name", "id", "key"]),
];

const RETRY_RENAMED: &[Renamed] = &[
    (
        "attempts",
        &["count", "limit", "max", "maxattempts", "times", "retries", "tries", "maxretries"],
    ),
    (
        "backoff",
        &[
            "delay",
            "interval",
            "wait",
            "initialdelay",
            "sleep",
            "pause",
            "period",
            "initialbackoff",
        ],
    ),
    ("max_backoff", &["maxdelay", "maxinterval", "maxwait", "maxduration", "cap"]),
];

/// Returns what a runbook has for a key that a mapping does not have.
pub(crate) fn key(mapping: MappingKind, written: &str) -> Option<Key> {
    let (renamed, replaced): (&[Renamed], &[Replaced]) = match mapping {
        MappingKind::Runbook => (RUNBOOK_RENAMED, RUNBOOK_REPLACED),
        MappingKind::Input => (INPUT_RENAMED, INPUT_REPLACED),
        MappingKind::Step => (STEP_RENAMED, STEP_REPLACED),
        MappingKind::Retry => (RETRY_RENAMED, &[]),
        MappingKind::Defaults => (&[], STEP_REPLACED),
    };
    let word = folded(written);
    let keys = mapping.keys();
    if let Some(same) = keys.iter().copied().find(|key| folded(key) == word) {
        return Some(Key { ours: Some(same), is_rename: true, help: "" });
    }
    let has = |words: &[&str]| words.contains(&word.as_str());
    if let Some((ours, _)) = renamed.iter().find(|(_, words)| has(words)) {
        return Some(Key { ours: Some(ours), is_rename: true, help: "" });
    }
    let (ours, help, _) = replaced.iter().find(|(.., words)| has(words))?;
    // The defaults have few of the keys of a step.
    let is_other = mapping == MappingKind::Defaults && !keys.contains(ours);
    (!is_other).then_some(Key {
        ours: Some(*ours).filter(|key| !key.is_empty()),
        is_rename: false,
        help,
    })
}
