//! The requirements of a runbook, from its text: for each step those that its action declares, limited by the values
//! of its parameters as far as they are known before the step runs.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    Access, AwsAccess, AwsResource, AwsResourceKind, KubernetesAccess, Need, Place, Requirement,
    Value,
};
use crate::actions::{
    self, Access as Declared, ActionDef, AwsParams, AwsScope, Condition, KubernetesScope,
    Permission,
};
use runbook::{
    EvaluationScope, KeptWorkload, LimitKind, Runbook, Step, TracedValue, Workload, WorkloadKind,
    objects::ObjectKind,
};

/// The target of a runbook, as far as it is known beside its text.
#[derive(Debug, Clone, Default)]
pub struct RunbookContext {
    /// The region of a cluster that the run finds out.
    pub region: Option<String>,
    /// The name of a cluster that the run finds out.
    pub cluster: Option<String>,
    /// The account.
    pub account: Option<String>,
}

/// The knowledge of a parameter.
enum Known {
    Value(String),
    NotSet,
    /// An input that has no value yet, or a value that is computed from such inputs: its placeholder.
    Missing(String),
    /// The output of these steps.
    AtRunTime(BTreeSet<String>),
}

/// A place where a resource is used, the object where only one is, and why it is wider.
type KubernetesPlace = (Place, Option<Value>, Option<String>);

/// Returns what the steps of a runbook and their undo require. `scope` has the inputs, and the outputs that are known.
pub fn of_runbook(
    runbook: &Runbook,
    scope: &EvaluationScope,
    context: &RunbookContext,
) -> Vec<Requirement> {
    let origins = RefCell::default();
    let derivation = Derivation { runbook, scope, context, origins: &origins, caller: None };
    derivation.of_steps()
}

/// The verbs that are meant for all objects of a place.
const READS_OF_ALL: [&str; 2] = ["list", "watch"];

struct Derivation<'r> {
    runbook: &'r Runbook,
    scope: &'r EvaluationScope,
    context: &'r RunbookContext,
    /// The step that calls the runbook, in the runbook that has it.
    caller: Option<(&'r Derivation<'r>, &'r Step)>,
    /// The steps that find out the region and the cluster which have the short placeholder: those of another step are
    /// not the same.
    origins: &'r RefCell<BTreeMap<&'static str, BTreeSet<String>>>,
}

impl Derivation<'_> {
    fn of_steps(&self) -> Vec<Requirement> {
        let of_steps = self.runbook.steps.iter().flat_map(|step| self.of_step(step));
        of_steps.chain(self.of_limits()).collect()
    }

    /// Returns what is read of the workloads that a limit of the runbook keeps.
    fn of_limits(&self) -> Vec<Requirement> {
        if !self.runbook.has_limit(LimitKind::KeepReady) {
            return Vec::new();
        }
        let places: Vec<(&str, KubernetesPlace)> = match self.runbook.limits(self.scope) {
            Ok(limits) => limits.keep_ready.into_iter().map(place_of_kept).collect(),
            Err(_) => {
                let note = "every namespace: the inputs decide which".to_owned();
                let place = (Place::NamespaceAtRunTime, None, Some(note));
                ["deployments", "statefulsets"].map(|kind| (kind, place.clone())).into()
            }
        };
        let need = Need::Step {
            runbook: self.outermost().name.clone(),
            step: self.path("limits"),
            is_undo: false,
        };
        let accesses = places.into_iter().flat_map(|(resource, place)| {
            let (namespace, _, note) = place.clone();
            let workload = kubernetes_accesses("apps", resource, &["get"], &[place]);
            let pods = kubernetes_accesses("", "pods", &["list"], &[(namespace, None, note)]);
            workload.into_iter().chain(pods)
        });
        let requirement = |(access, note): (Access, Option<String>)| Requirement {
            access,
            needed_by: [need.clone()].into(),
            is_optional: false,
            notes: note.into_iter().collect(),
        };
        accesses.map(requirement).collect()
    }

    fn of_step(&self, step: &Step) -> Vec<Requirement> {
        // Item by item: the name of one belongs with its own namespace, and not with that of another.
        if let Some(scopes) = step.item_scopes(self.scope) {
            let of_item = |scope: &EvaluationScope| {
                let Self { runbook, context, origins, caller, .. } = *self;
                Derivation { runbook, scope, context, caller, origins }.of_step(step)
            };
            return scopes.iter().flat_map(of_item).collect();
        }
        if let Some(called) = &step.call {
            let inputs = step.call_inputs(self.scope).unwrap_or_default();
            return Derivation {
                runbook: called.runbook(),
                scope: &EvaluationScope::new(&inputs),
                context: self.context,
                caller: Some((self, step)),
                origins: self.origins,
            }
            .of_steps();
        }
        let Some(action) = actions::find(&step.action) else { return Vec::new() };
        let needed = action.permissions.iter().filter(|one| self.is_needed(step, action, one));
        needed.flat_map(|permission| self.of_permission(step, action, permission)).collect()
    }

    /// Returns the runbook that is run.
    fn outermost(&self) -> &Runbook {
        self.caller.map_or(self.runbook, |(outer, _)| outer.outermost())
    }

    /// Returns the path of a step in a run, without the places of items.
    fn path(&self, step: &str) -> String {
        match self.caller {
            Some((outer, caller)) => format!("{}/{step}", outer.path(&caller.id)),
            None => step.to_owned(),
        }
    }

    fn of_permission(
        &self,
        step: &Step,
        action: &ActionDef,
        permission: &Permission,
    ) -> Vec<Requirement> {
        let need = Need::Step {
            runbook: self.outermost().name.clone(),
            step: self.path(&step.id),
            is_undo: permission.is_for_undo,
        };
        let accesses = match permission.access {
            Declared::Aws { action: name, scope } => self.of_aws(step, action, name, scope),
            Declared::Kubernetes { group, resource, verbs, scope } => {
                let places = self.of_kubernetes(step, action, resource, scope);
                kubernetes_accesses(group, resource, verbs, &places)
            }
            Declared::Object { verbs } => match self.object_kind(step, action) {
                Some(kind) => {
                    let places = self.of_object(step, action, &kind.resource);
                    kubernetes_accesses(&kind.group, &kind.resource, verbs, &places)
                }
                None => Vec::new(),
            },
        };
        let requirement = |(access, note): (Access, Option<String>)| Requirement {
            access,
            needed_by: [need.clone()].into(),
            is_optional: permission.is_optional,
            notes: note.into_iter().collect(),
        };
        accesses.into_iter().map(requirement).collect()
    }

    /// Returns the places where a resource is used, each with the object where only one is, and with why it is wider.
    fn of_kubernetes(
        &self,
        step: &Step,
        action: &ActionDef,
        resource: &str,
        scope: KubernetesScope,
    ) -> Vec<KubernetesPlace> {
        let (namespaces, name) = match scope {
            KubernetesScope::Cluster => {
                let note = format!(
                    "{resource} have no namespace, and which ones is known only when the run has read them"
                );
                return vec![(Place::Cluster, None, Some(note))];
            }
            KubernetesScope::AllNamespaces(why) => {
                return vec![(Place::Cluster, None, Some(format!("every namespace: {why}")))];
            }
            KubernetesScope::Namespace(namespace) => (namespace, (None, None)),
            KubernetesScope::Object { namespace, name } => {
                (namespace, self.object_name(step, action, resource, name))
            }
        };
        let namespaces = self.values(step, action, namespaces);
        let (name, name_note) = name;
        let place = |namespace: Known| match namespace {
            Known::Value(namespace) => {
                Some((Place::Namespace(Value::Known(namespace)), name.clone(), name_note.clone()))
            }
            Known::Missing(placeholder) => {
                let namespace = Value::Placeholder(placeholder);
                Some((Place::Namespace(namespace), name.clone(), name_note.clone()))
            }
            Known::AtRunTime(steps) => {
                let note = format!("every namespace: {}", read_first(&steps));
                Some((Place::NamespaceAtRunTime, name.clone(), Some(note)))
            }
            Known::NotSet => None,
        };
        namespaces.into_iter().filter_map(place).collect()
    }

    /// Returns the name of an object, and why it is not known.
    fn object_name(
        &self,
        step: &Step,
        action: &ActionDef,
        resource: &str,
        param: &str,
    ) -> (Option<Value>, Option<String>) {
        match self.values(step, action, param).pop() {
            Some(Known::Value(name)) => (Some(Value::Known(name)), None),
            Some(Known::Missing(name)) => (Some(Value::Placeholder(name)), None),
            Some(Known::AtRunTime(steps)) => {
                (None, Some(format!("every object of {resource}: {}", read_first(&steps))))
            }
            Some(Known::NotSet) | None => (None, None),
        }
    }

    /// Returns the kind of the object that the parameters name, which are literals.
    fn object_kind(&self, step: &Step, action: &ActionDef) -> Option<ObjectKind> {
        let literal = |param| match self.values(step, action, param).pop() {
            Some(Known::Value(value)) => Some(value),
            Some(Known::NotSet | Known::Missing(_) | Known::AtRunTime(_)) | None => None,
        };
        let (api_version, kind) = (literal("api_version")?, literal("kind")?);
        let has_namespace = self.has_namespace(step, action);
        let resource = literal("resource");
        ObjectKind::new(&api_version, &kind, resource.as_deref(), has_namespace).ok()
    }

    /// Returns the place of the object of any kind that the parameters name.
    fn of_object(&self, step: &Step, action: &ActionDef, resource: &str) -> Vec<KubernetesPlace> {
        if self.has_namespace(step, action) {
            let scope = KubernetesScope::Object { namespace: "namespace", name: "name" };
            return self.of_kubernetes(step, action, resource, scope);
        }
        let (name, note) = self.object_name(step, action, resource, "name");
        vec![(Place::Cluster, name, note)]
    }

    fn has_namespace(&self, step: &Step, action: &ActionDef) -> bool {
        let namespaces = self.values(step, action, "namespace");
        namespaces.iter().any(|namespace| !matches!(namespace, Known::NotSet))
    }

    fn of_aws(
        &self,
        step: &Step,
        action: &ActionDef,
        name: &str,
        scope: AwsScope,
    ) -> Vec<(Access, Option<String>)> {
        let (AwsScope::Region(params)
        | AwsScope::Cluster(params)
        | AwsScope::Nodegroup(params)
        | AwsScope::ClusterAndNodegroup(params)
        | AwsScope::AutoScalingGroup(params)
        | AwsScope::NamedAutoScalingGroup(params)) = scope;
        let AwsParams { region, cluster, nodegroup, group } = params;
        let region = self.first(step, action, region, self.context.region.as_ref(), "REGION");
        let account = || value_or(self.context.account.as_ref(), "ACCOUNT_ID");
        let (resource, note) = match (scope, AwsResourceKind::of(scope)) {
            (AwsScope::NamedAutoScalingGroup(_), _) => {
                let (name, note) = self.group(step, action, group);
                (AwsResource::AutoScalingGroup { region, account: account(), name }, note)
            }
            (_, None) => {
                let note = format!("{name} takes no resource: it is limited to the region");
                (AwsResource::Region(region), Some(note))
            }
            (_, Some(kind)) => {
                let of_context = self.context.cluster.as_ref();
                let cluster = match cluster {
                    Some(param) => self.first(step, action, param, of_context, "CLUSTER"),
                    None => value_or(of_context, "CLUSTER"),
                };
                let (nodegroup, note) = match kind {
                    AwsResourceKind::Cluster => (None, None),
                    _ => self.nodegroup(step, action, nodegroup),
                };
                let account = account();
                let resource = AwsResource::OfCluster { kind, region, account, cluster, nodegroup };
                (resource, note)
            }
        };
        vec![(Access::Aws(AwsAccess { action: name.to_owned(), resource }), note)]
    }

    fn group(
        &self,
        step: &Step,
        action: &ActionDef,
        param: Option<&str>,
    ) -> (Option<Value>, Option<String>) {
        let all =
            |why: String| (None, Some(format!("every Auto Scaling group of the region: {why}")));
        match param.and_then(|param| self.values(step, action, param).pop()) {
            Some(Known::Value(name)) => (Some(Value::Known(name)), None),
            Some(Known::Missing(name)) => (Some(Value::Placeholder(name)), None),
            Some(Known::AtRunTime(steps)) => all(read_first(&steps)),
            Some(Known::NotSet) | None => all(read_first(&BTreeSet::new())),
        }
    }

    fn nodegroup(
        &self,
        step: &Step,
        action: &ActionDef,
        param: Option<&str>,
    ) -> (Option<Value>, Option<String>) {
        let all = |why: String| (None, Some(format!("every nodegroup of the cluster: {why}")));
        let found = param.and_then(|param| self.values(step, action, param).pop());
        match found {
            Some(Known::Value(name)) => (Some(Value::Known(name)), None),
            Some(Known::Missing(name)) => (Some(Value::Placeholder(name)), None),
            Some(Known::AtRunTime(steps)) => all(read_first(&steps)),
            Some(Known::NotSet) | None => all(format!("step {} reads all of them", step.id)),
        }
    }

    /// Returns the one value of a parameter, or the context's, or a placeholder.
    fn first(
        &self,
        step: &Step,
        action: &ActionDef,
        param: &str,
        context: Option<&String>,
        placeholder: &'static str,
    ) -> Value {
        match self.values(step, action, param).pop() {
            Some(Known::Value(value)) => Value::Known(value),
            Some(Known::Missing(name)) => Value::Placeholder(name),
            Some(Known::AtRunTime(steps)) => {
                let mut origins = self.origins.borrow_mut();
                if *origins.entry(placeholder).or_insert_with(|| steps.clone()) == steps {
                    return value_or(context, placeholder);
                }
                let steps: Vec<String> = steps.iter().map(|step| step.to_uppercase()).collect();
                Value::Placeholder(format!("{placeholder}_OF_{}", steps.join("_")))
            }
            Some(Known::NotSet) | None => value_or(context, placeholder),
        }
    }

    fn is_needed(&self, step: &Step, action: &ActionDef, permission: &Permission) -> bool {
        let is_true = |param| match self.values(step, action, param).pop() {
            Some(Known::Value(value)) => Some(value == "true"),
            Some(Known::NotSet) | None => Some(false),
            Some(Known::Missing(_) | Known::AtRunTime(_)) => None,
        };
        match permission.condition {
            Condition::Always => true,
            Condition::IfGiven(param) => {
                self.values(step, action, param).iter().any(|one| !matches!(one, Known::NotSet))
            }
            Condition::IfTrue(param) => is_true(param) != Some(false),
            Condition::IfNotTrue(param) => is_true(param) != Some(true),
        }
    }

    /// Returns what is known of the values at a path below a parameter of an action, each once.
    fn values(&self, step: &Step, action: &ActionDef, path: &str) -> Vec<Known> {
        self.known(step, path, || default_of(action, path))
    }

    /// Returns what is known of an input of the runbook that a step calls.
    fn inputs(&self, caller: &Step, path: &str) -> Vec<Known> {
        let declared = caller.call.as_ref().and_then(|called| {
            let name = path.split(['.', '[']).next().unwrap_or(path);
            called.runbook().inputs.iter().find(|input| input.name == name)
        });
        let default = declared.and_then(|input| input.default.as_ref());
        self.known(caller, path, || match default {
            Some(serde_json::Value::Null) | None => Known::NotSet,
            Some(value) => Known::Value(text_of(value)),
        })
    }

    /// Returns what is known of the values at a path below the parameters of a step, each once; `default` is the value
    /// of one that is not set.
    fn known(&self, step: &Step, path: &str, default: impl Fn() -> Known) -> Vec<Known> {
        let mut found: Vec<Known> = Vec::new();
        let mut seen = BTreeSet::new();
        for traced in step.trace(path, self.scope) {
            match traced {
                TracedValue::Known(value) => {
                    let text = text_of(&value);
                    if seen.insert(text.clone()) {
                        found.push(Known::Value(text));
                    }
                }
                TracedValue::NotSet => found.push(default()),
                TracedValue::MissingInput(input) => match self.caller {
                    Some((outer, caller)) => found.extend(outer.inputs(caller, &input)),
                    None => {
                        found.push(Known::Missing(format!("INPUT_{}", input.to_uppercase())));
                    }
                },
                TracedValue::ComputedFromInputs(_) => {
                    let param = path.rsplit('.').next().unwrap_or(path);
                    let name = format!("{param}_OF_{}", step.id).to_uppercase();
                    found.push(Known::Missing(name));
                }
                TracedValue::Output { step, path } => found.extend(self.output(&step, &path)),
                TracedValue::Computed(steps) => found.push(Known::AtRunTime(steps)),
            }
        }
        found
    }

    /// Returns what is known of a part of the output of an earlier step.
    fn output(&self, id: &str, path: &str) -> Vec<Known> {
        let unknown = || vec![Known::AtRunTime([id.to_owned()].into())];
        let Some(step) = self.runbook.step(id) else {
            return unknown();
        };
        let Some(action) = actions::find(&step.action) else { return unknown() };
        match action.repeated_params.iter().find(|repeated| repeated.output == path) {
            // A step uses only earlier ones, so this ends. What the parameter does not say, the action finds out.
            Some(repeated) => match self.values(step, action, repeated.param) {
                values if values.iter().all(|value| matches!(value, Known::NotSet)) => unknown(),
                values => values,
            },
            None => unknown(),
        }
    }
}

/// Returns the kind of a workload that a limit keeps, and where it is.
fn place_of_kept(kept: KeptWorkload) -> (&'static str, KubernetesPlace) {
    let Workload { kind, namespace, name } = kept.workload;
    let resource = match kind {
        WorkloadKind::Deployment => "deployments",
        WorkloadKind::StatefulSet => "statefulsets",
    };
    (resource, (Place::Namespace(Value::Known(namespace)), Some(Value::Known(name)), None))
}

/// Returns the accesses of these verbs at these places.
fn kubernetes_accesses(
    group: &str,
    resource: &str,
    verbs: &[&str],
    places: &[KubernetesPlace],
) -> Vec<(Access, Option<String>)> {
    let access = |(place, name, note): &KubernetesPlace, verb: &str| {
        let access = KubernetesAccess {
            place: place.clone(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: name.clone(),
            verb: verb.to_owned(),
        };
        let is_one = access.name.is_some() || READS_OF_ALL.contains(&verb);
        let all =
            || format!("every one of the {resource} there: which ones is known only in the run");
        (Access::Kubernetes(access), note.clone().or_else(|| (!is_one).then(all)))
    };
    let of_place = |place| verbs.iter().map(move |verb| access(place, verb));
    places.iter().flat_map(of_place).collect()
}

fn text_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the default of a parameter that is not set.
fn default_of(action: &ActionDef, path: &str) -> Known {
    let default = action.params["properties"].get(path).and_then(|schema| schema.get("default"));
    match default {
        Some(serde_json::Value::String(text)) => Known::Value(text.clone()),
        Some(serde_json::Value::Bool(value)) => Known::Value(value.to_string()),
        _ => Known::NotSet,
    }
}

fn value_or(value: Option<&String>, placeholder: &str) -> Value {
    value
        .map_or_else(|| Value::Placeholder(placeholder.into()), |value| Value::Known(value.clone()))
}

/// Says that a value is known only when the run has read it.
fn read_first(steps: &BTreeSet<String>) -> String {
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    match steps.as_slice() {
        [] => "which one is known only in the run".into(),
        steps => format!("which one is known only when {} has run", steps.join(", ")),
    }
}
