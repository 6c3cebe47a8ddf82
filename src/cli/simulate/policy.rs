//! What the clients of the simulated cluster may do, read from files: an IAM policy document, and manifests with roles.

use std::{fmt::Display, fs, path::Path};

use serde_json::Value;

use super::{CliError, simulator_error};
use crate::cli::stdout;
use simulator::AccessPolicy;

/// Adds the statements of an IAM policy document to a policy.
///
/// # Errors
/// A file without a document, or with one that the simulator cannot enforce.
pub(super) fn add_iam(mut policy: AccessPolicy, path: &Path) -> Result<AccessPolicy, CliError> {
    let documents = read_documents(path)?;
    if documents.is_empty() {
        return Err(unusable(path, "it has no policy document"));
    }
    for document in documents {
        policy = policy.allow_iam(&document).map_err(|error| unusable(path, error))?;
    }
    Ok(policy)
}

/// Adds the Roles and ClusterRoles of a manifest to a policy, and says which other objects the manifest has: manifests
/// of roles come together with accounts and bindings, which restrict nothing here.
///
/// # Errors
/// A file without roles, or with one that is not valid. Without a role, clients would be allowed everything.
pub(super) fn add_roles(mut policy: AccessPolicy, path: &Path) -> Result<AccessPolicy, CliError> {
    let documents = read_documents(path)?.into_iter().flat_map(items);
    let (roles, others): (Vec<Value>, Vec<Value>) =
        documents.partition(|object| matches!(kind(object), "Role" | "ClusterRole"));
    if roles.is_empty() {
        return Err(unusable(path, "it has no Role or ClusterRole"));
    }
    for role in &roles {
        policy = policy.allow_role(role).map_err(|error| unusable(path, error))?;
    }
    if !others.is_empty() {
        let ignored = text::join_truncated(others.iter().map(|object| {
            format!("{} {}", kind(object), object["metadata"]["name"].as_str().unwrap_or_default())
        }));
        let line = format!("ignored in {}, because only roles count: {ignored}", path.display());
        stdout::write_stderr_line(&text::printable(&line));
    }
    Ok(policy)
}

/// Reads the documents of a file that are not empty.
fn read_documents(path: &Path) -> Result<Vec<Value>, CliError> {
    let text = fs::read_to_string(path).map_err(|error| unusable(path, error))?;
    // JSON is YAML too.
    let mut documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, yaml_options())
        .map_err(|error| unusable(path, error))?;
    documents.retain(|document| !document.is_null());
    Ok(documents)
}

/// Returns the objects of a list, as `kubectl get` writes it, or the object itself.
fn items(mut document: Value) -> Vec<Value> {
    let is_list = kind(&document).ends_with("List");
    match document.get_mut("items") {
        Some(Value::Array(items)) if is_list => std::mem::take(items),
        _ => vec![document],
    }
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

fn unusable(path: &Path, why: impl Display) -> CliError {
    simulator_error(format!("cannot use the policy {}: {why}", path.display()))
}

/// Returns how a policy is read: within a depth that fits the stack, with errors of one line.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 24 },
        with_snippet: false,
    }
}
