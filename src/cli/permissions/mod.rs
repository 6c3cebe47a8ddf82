//! `permissions`: the least permissions of runbooks, as text, as an IAM policy, as RBAC roles or as JSON, and whether
//! this account has them.

mod human;

use clap::ValueEnum;
use serde_json::{Map, Value as Json, json};

use super::{
    CliError, Exit, Global, Output, inputs, permission_report, stdout, target::PlatformArgs,
};
use crate::{
    engine::CheckedRunbook,
    permissions::{
        self, Access, AwsResource, Partition, RbacNames, Requirement, RunbookContext, Subject,
        Value, placeholders,
    },
};
use clock::Clock;
use runbook::{EvaluationScope, types::Syntax};

/// Prints the least permissions that runbooks and their undo need, derived from their steps.
///
/// Each is limited as far as its API allows: to a namespace, to the objects that the runbook names, to the cluster. A
/// value that only a run finds out is a placeholder such as CLUSTER, unless it is given. What is wider than the runbook
/// needs is said, with the reason.
#[derive(Debug, clap::Args)]
pub(super) struct PermissionsArgs {
    /// The runbooks: names or paths
    #[arg(required_unless_present = "snapshot", value_name = "RUNBOOK")]
    names: Vec<String>,
    /// Output format [default: human; json with --output json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The EKS cluster, where a runbook reads its name from the cluster
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    cluster: Option<String>,
    /// The region of the EKS cluster
    #[arg(long, value_name = "REGION", value_parser = parse_name)]
    region: Option<String>,
    /// The AWS account: twelve digits
    #[arg(long, value_name = "ID", value_parser = parse_account)]
    account: Option<String>,
    /// An input of the runbooks; may be given several times
    #[arg(long = "input", value_name = "NAME=VALUE")]
    inputs: Vec<String>,
    /// Add what the service needs: the runs that it keeps in the cluster, and the check of its own AWS permissions
    #[arg(long)]
    service: bool,
    /// Add what `snapshot` reads, of the whole cluster
    #[arg(long)]
    snapshot: bool,
    /// The service account that the roles are bound to
    #[arg(
        long,
        value_name = "NAMESPACE:NAME",
        default_value = "rafay-core:rafay-relay-sop",
        value_parser = parse_service_account
    )]
    service_account: (String, String),
    /// Bind the roles to a group instead, such as that of an EKS access entry
    #[arg(long, value_name = "NAME", conflicts_with = "service_account")]
    group: Option<String>,
    /// The name of the Roles and ClusterRoles [default: rafay-relay-sop; rafay-relay-sop-people with --group]
    ///
    /// Two subjects need two names: roles of the same name would take the place of each other.
    #[arg(long, value_name = "NAME", value_parser = parse_kubernetes_name)]
    role: Option<String>,
    /// The IAM role of the service, which may ask what it may do
    #[arg(
        long,
        value_name = "NAME",
        default_value = "rafay-relay-sop-role",
        requires = "service",
        value_parser = parse_iam_role
    )]
    iam_role: String,
    /// Check instead whether this account has the permissions, and print those that it has not
    ///
    /// Kubernetes is asked for each verb. The leading steps that read are run, to find out the names. Then every AWS
    /// read is tried, and every change is simulated by IAM, where iam:SimulatePrincipalPolicy is allowed.
    #[arg(long, conflicts_with_all = ["format", "cluster", "region", "account", "service", "snapshot", "group"])]
    check: bool,
    #[command(flatten)]
    platform: PlatformArgs,
}

/// How the permissions are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text, with what needs each permission
    Human,
    /// An IAM policy document
    Iam,
    /// Roles, ClusterRoles and their bindings, as YAML for `kubectl apply -f -`
    Rbac,
    /// One JSON document with all of it
    Json,
}

impl PermissionsArgs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        let runbooks: Vec<CheckedRunbook> =
            self.names.iter().map(|name| global.checked_runbook(name)).collect::<Result<_, _>>()?;
        let given = inputs::known_inputs(&self.inputs, &runbooks)?;
        if self.check {
            let platform = self.platform.connect(Clock::real())?;
            let runbooks = runbooks.into_iter().zip(&given);
            return permission_report::check(platform, runbooks, global).await;
        }
        let mut requirements = Vec::new();
        let context = RunbookContext {
            region: self.region.clone(),
            cluster: self.cluster.clone(),
            account: self.account.clone(),
        };
        for (checked, inputs) in runbooks.iter().zip(&given) {
            let runbook = checked.runbook();
            let scope = EvaluationScope::new(inputs);
            requirements.extend(permissions::of_run(runbook));
            requirements.extend(permissions::of_runbook(runbook, &scope, &context));
        }
        if self.service {
            let namespace = global.store_namespace.clone();
            let namespace = namespace.unwrap_or_else(|| self.service_account.0.clone());
            let uses_aws = requirements.iter().any(|one| matches!(one.access, Access::Aws(_)));
            let own_role = uses_aws.then(|| self.own_role(&requirements));
            let service = permissions::of_service(&Value::Known(namespace), own_role.as_ref());
            requirements.extend(service);
        }
        if self.snapshot {
            requirements.extend(permissions::of_snapshot(&context));
        }
        let requirements = permissions::merge(requirements);
        self.print(&requirements, &describe_inputs(&runbooks, &given), global)?;
        Ok(Exit::Success)
    }

    fn print(
        &self,
        requirements: &[Requirement],
        inputs: &[String],
        global: &Global,
    ) -> Result<(), CliError> {
        let default = match global.output {
            Output::Text => Format::Human,
            Output::Json | Output::Ndjson => Format::Json,
        };
        let format = self.format.unwrap_or(default);
        let roles = permissions::roles(requirements, &self.rbac_names());
        let text = match format {
            Format::Human => {
                let inputs = inputs.iter().map(|line| format!("with {line}\n"));
                inputs.collect::<String>() + &human::render(requirements)
            }
            Format::Iam => match permissions::policy(requirements) {
                Some(policy) => format!("{policy:#}\n"),
                None => {
                    let message =
                        "the runbooks use no AWS: an IAM policy without statements is not valid";
                    return Err(CliError::usage_with_hint(
                        message,
                        "leave it out, or see --format human",
                    ));
                }
            },
            Format::Rbac => format!(
                "# Generated by `rafay-relay-sop permissions`: the least that the runbooks and their undo need.\n{}{}",
                inputs.iter().map(|line| format!("# With {line}\n")).collect::<String>(),
                permissions::to_yaml(&roles)
            ),
            Format::Json => {
                let document = json!({
                    "requirements": requirements.iter().map(requirement_json).collect::<Vec<_>>(),
                    "placeholders": placeholders(requirements)
                        .into_iter()
                        .map(|name| (name.to_owned(), json!(human::meaning(name))))
                        .collect::<Map<_, _>>(),
                    "iamPolicy": permissions::policy(requirements),
                    "rbac": roles.iter().flat_map(permissions::Role::to_json).collect::<Vec<_>>(),
                });
                format!("{document:#}\n")
            }
        };
        stdout::write(&text)?;
        // In the text they are named; a file that is applied as it is should not hide them.
        let is_printed = |requirement: &&Requirement| match requirement.access {
            Access::Aws(_) => format == Format::Iam,
            Access::Kubernetes(_) => format == Format::Rbac,
        };
        let unknown = placeholders(requirements.iter().filter(is_printed));
        if !unknown.is_empty() {
            let named = unknown.iter().map(|name| format!("{name} ({})", human::meaning(name)));
            let named: Vec<String> = named.collect();
            stdout::write_stderr(&format!("to be replaced: {}\n", named.join("; ")));
        }
        Ok(())
    }

    /// Returns the IAM role of the service.
    fn own_role(&self, requirements: &[Requirement]) -> AwsResource {
        let account = self.account.clone();
        let mut regions = requirements.iter().filter_map(|one| one.access.region());
        let region = regions.find_map(Value::known).unwrap_or_default();
        AwsResource::Role {
            partition: Partition::of_region(region),
            account: account.map_or(Value::Placeholder("ACCOUNT_ID".into()), Value::Known),
            role: Value::Known(self.iam_role.clone()),
        }
    }

    fn rbac_names(&self) -> RbacNames {
        let subject = match &self.group {
            Some(group) => Subject::Group(group.clone()),
            None => {
                let (namespace, name) = self.service_account.clone();
                Subject::ServiceAccount { namespace, name }
            }
        };
        let default = match subject {
            Subject::ServiceAccount { .. } => "rafay-relay-sop",
            Subject::Group(_) => "rafay-relay-sop-people",
        };
        RbacNames { role: self.role.clone().unwrap_or_else(|| default.into()), subject }
    }
}

/// Returns the inputs for which the permissions hold, a line for each runbook that has some: other inputs may need
/// other permissions.
fn describe_inputs(runbooks: &[CheckedRunbook], given: &[Map<String, Json>]) -> Vec<String> {
    let describe = |(checked, inputs): (&CheckedRunbook, &Map<String, Json>)| {
        let inputs: Vec<String> =
            inputs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let line = format!("the inputs of {}: {}", checked.runbook().name, inputs.join(", "));
        (!inputs.is_empty()).then(|| text::printable(&line).into_owned())
    };
    runbooks.iter().zip(given).filter_map(describe).collect()
}

fn requirement_json(requirement: &Requirement) -> Json {
    let needed_by: Vec<String> = requirement.needed_by.iter().map(ToString::to_string).collect();
    let mut json = match &requirement.access {
        Access::Kubernetes(access) => {
            json!({
                "platform": "kubernetes",
                "verb": access.verb,
                "group": access.group,
                "resource": access.resource,
                "namespace": access.place.namespace().map(ToString::to_string),
                "scope": match &access.place {
                    permissions::Place::Namespace(_) => "namespace",
                    permissions::Place::Cluster => "cluster",
                    permissions::Place::NamespaceAtRunTime => "namespace_at_run_time",
                },
                "name": access.name.as_ref().map(ToString::to_string),
            })
        }
        Access::Aws(access) => json!({
            "platform": "aws",
            "action": access.action,
            "resources": permissions::arns(&access.resource),
            "conditions": permissions::condition(&access.resource),
        }),
    };
    json["neededBy"] = json!(needed_by);
    json["optional"] = json!(requirement.is_optional);
    json["notes"] = json!(requirement.notes);
    json
}

fn parse_account(text: &str) -> Result<String, String> {
    match text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(text.to_owned()),
        false => Err("an account has twelve digits".into()),
    }
}

/// Names become part of ARNs, in which `*` and `?` would widen them.
fn parse_name(text: &str) -> Result<String, String> {
    let is_allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_');
    match !text.is_empty() && text.len() <= 100 && text.chars().all(is_allowed) {
        true => Ok(text.to_owned()),
        false => Err("a name has letters, digits, hyphens and underscores".into()),
    }
}

/// A role that is named with a path is another one than the name of a session says.
fn parse_iam_role(text: &str) -> Result<String, String> {
    let is_allowed = |one: char| one.is_ascii_alphanumeric() || "+=,.@_-".contains(one);
    match (1..=64).contains(&text.len()) && text.chars().all(is_allowed) {
        true => Ok(text.to_owned()),
        false => Err("a role has up to 64 letters, digits and `+=,.@_-`, and no path here".into()),
    }
}

fn parse_kubernetes_name(text: &str) -> Result<String, String> {
    match Syntax::KubernetesName.matches(text) {
        true => Ok(text.to_owned()),
        false => Err(Syntax::KubernetesName.sentence()),
    }
}

fn parse_service_account(text: &str) -> Result<(String, String), String> {
    let (namespace, name) = text.split_once(':').ok_or("write NAMESPACE:NAME")?;
    Ok((parse_kubernetes_name(namespace)?, parse_kubernetes_name(name)?))
}
