//! The kinds of the objects in which a cluster keeps runs. Their doc comments are what `kubectl explain` prints.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The run of a runbook, as it was asked for. Its events are in the RunEvents that it owns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "sop.rafay.dev",
    version = "v1alpha1",
    kind = "RunbookRun",
    plural = "runbookruns",
    shortname = "rbr",
    category = "sop",
    namespaced,
    derive = "PartialEq",
    doc = "A run of a runbook. The status is a projection of its RunEvents, which are the truth.",
    status = "RunbookRunStatus",
    validation = Rule::new(
        "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')"
    )
    .message("the name is the id of the run: at most 63 lower-case letters, digits and '-'"),
    selectable = ".spec.runbook",
    selectable = ".status.state",
    printcolumn(name = "Runbook", type_ = "string", json_path = ".spec.runbook"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Done", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Waits for",
        type_ = "string",
        json_path = ".status.waitingFor",
        priority = 1
    ),
    printcolumn(name = "Holder", type_ = "string", json_path = ".status.holder", priority = 1)
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a run's spec cannot be changed"))]
pub struct RunbookRunSpec {
    /// The name of the runbook.
    #[schemars(length(max = 253))]
    pub runbook: String,
    /// The inputs, as the runbook declares them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub inputs: Map<String, Value>,
    /// The idempotency key of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The actor that asked for the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// The time from which on the run must not be started: an object that is created again later starts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub start_before: Option<String>,
    /// The codes of the findings of a plan in spite of which the run starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    pub accept: Vec<String>,
    /// Why the run is to start although no change window may be open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub outside_window: Option<String>,
    /// The process that created the object; none where a person did, who asks for a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
}

/// The state of the run, for people and for lists. It is derived from the events and can be rebuilt from them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunbookRunStatus {
    /// The state, such as running, succeeded or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The step that began last, until the run stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How many steps have ended, of how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The condition that the step waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// The process that drives the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// When that process wrote this last. It does so at least every sixth of the lease duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub renewed_at: Option<String>,
    /// After how many seconds without a change the process counts as gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_duration_seconds: Option<u32>,
    /// The cluster and the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// When the run was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub started_at: Option<String>,
    /// When the run stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub ended_at: Option<String>,
    /// Why the run stopped, where it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// How many events the run has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// The head of the run as JSON, so that runs can be listed without their events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Finished (the run has stopped, whatever its end), Succeeded, and Waiting (the step waits for something).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<RunCondition>,
}

/// One condition of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunCondition {
    /// The condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// The state of the run, in one word.
    pub reason: String,
    /// The details, for people.
    pub message: String,
    /// When the status of the condition changed last.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
}

/// The compression of the lines of a [`RunEvents`].
pub const ENCODING: &str = "gzip";

/// Some events of a run, one after the other. Never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "sop.rafay.dev",
    version = "v1alpha1",
    kind = "RunEvents",
    plural = "runevents",
    singular = "runevents",
    namespaced,
    no_spec,
    derive = "PartialEq",
    doc = "Some events of a run, in the order in which they happened. Never changed.",
    validation = Rule::new(
        "self.first == oldSelf.first && self.count == oldSelf.count && self.writer == oldSelf.writer \
         && self.takesOver == oldSelf.takesOver && self.compacted == oldSelf.compacted \
         && self.encoding == oldSelf.encoding && self.lines == oldSelf.lines"
    )
    .message("a journal is only appended to"),
    printcolumn(name = "First", type_ = "integer", json_path = ".first"),
    printcolumn(name = "Count", type_ = "integer", json_path = ".count"),
    printcolumn(name = "Writer", type_ = "string", json_path = ".writer")
)]
pub struct RunEventsPart {
    /// The number of the first event.
    pub first: u64,
    /// How many events these are.
    #[schemars(range(min = 1))]
    pub count: u64,
    /// The process that wrote them.
    pub writer: String,
    /// Whether that process had not written to the run before, and the run had events. Kept when others are compacted.
    #[serde(default)]
    pub takes_over: bool,
    /// Whether these are the events of several objects, which this one replaces.
    #[serde(default)]
    pub compacted: bool,
    /// The compression of the lines: gzip.
    pub encoding: String,
    /// The events as JSON lines, compressed, in base64.
    pub lines: String,
}

/// An object with any members.
fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
