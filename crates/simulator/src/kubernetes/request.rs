//! A request to the Kubernetes API: the kind, the object, the verb and the options of its query.

use std::collections::BTreeMap;

use axum::http::{Method, header};
use serde_json::Value;

use crate::authorize::{RequiredPermission, ResourceAttributes};
use crate::call_log::CallInfo;
use crate::gateway::Incoming;
use crate::yaml;

use super::kinds::{self, Kind};
use super::selectors::Selector;
use super::status_error::StatusError;
use super::wire_types;

/// How much of a request's body the call log keeps.
const MAX_SUMMARY: usize = 400;

/// The object or objects that a path names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourcePath {
    pub(crate) resource: &'static Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// The parameters of a query string.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Self(pairs.into_owned().collect())
    }

    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.get(key).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|value| matches!(value.as_str(), "true" | "1" | ""))
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.get(key).parse().ok()
    }

    pub(crate) fn dry_run(&self) -> bool {
        self.get("dryRun") == "All"
    }

    pub(crate) fn selector(&self, resource: &Kind) -> Result<Selector, StatusError> {
        Selector::parse(resource, self.get("labelSelector"), self.get("fieldSelector"))
    }
}

impl ResourcePath {
    /// Parses a path such as `/apis/apps/v1/namespaces/NS/deployments/NAME/scale`.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<String> = parts.map(decode).collect();
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, inner, ..]
                if kinds::find(group, version, inner).is_some_and(|r| r.namespaced) =>
            {
                (Some((*namespace).to_owned()), &rest[2..])
            }
            _ => (None, &rest[..]),
        };
        let resource = kinds::find(group, version, rest.first()?)?;
        if resource.namespaced && namespace.is_none() && rest.len() > 1 {
            return None;
        }
        let owned = |at: usize| rest.get(at).map(|part| (*part).to_owned());
        (rest.len() <= 3).then(|| Self {
            resource,
            namespace,
            name: owned(1),
            subresource: owned(2),
        })
    }

    /// Returns the namespace under which objects are stored, empty if there is none.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn attributes(&self, verb: &'static str) -> ResourceAttributes {
        let plural = self.resource.plural;
        let resource = match &self.subresource {
            Some(subresource) => format!("{plural}/{subresource}"),
            None => plural.to_owned(),
        };
        ResourceAttributes {
            verb: verb.into(),
            group: self.resource.group.into(),
            resource,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    fn path(&self) -> String {
        let parts = [
            Some(self.resource.plural.to_owned()),
            self.namespace.clone(),
            self.name.clone(),
            self.subresource.clone(),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    }
}

fn decode(part: &str) -> String {
    // In a path `+` is not a space, so only the percent signs are left to the form decoder.
    let form = format!("x={}", part.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

/// Returns the verb, as the API's authorization names it.
pub(crate) fn verb(method: &Method, target: &ResourcePath, query: &Query) -> &'static str {
    let one = target.name.is_some();
    match (method.as_str(), one) {
        ("GET" | "HEAD", _) if query.flag_given("watch") => "watch",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "unknown",
    }
}

impl Query {
    /// Returns the one name that a field selector allows: a list or watch of it may be granted by name.
    fn selected_name(&self) -> Option<String> {
        let terms = self.get("fieldSelector").split(',');
        let named = terms.filter_map(|term| term.strip_prefix("metadata.name="));
        named.map(|name| name.trim_start_matches('=').to_owned()).find(|name| !name.is_empty())
    }

    fn flag_given(&self, key: &str) -> bool {
        self.0.contains_key(key) && self.flag(key)
    }
}

/// Returns the call's name in the call log.
pub(crate) fn describe(incoming: &Incoming) -> CallInfo {
    let query = Query::parse(incoming.query());
    let method = &incoming.parts.method;
    let Some(target) = ResourcePath::parse(incoming.path()) else {
        return CallInfo {
            service: "kubernetes",
            name: format!("{} {}", method.as_str().to_lowercase(), incoming.path()),
            summary: String::new(),
            mutating: false,
            permission: RequiredPermission::None,
        };
    };
    let verb = verb(method, &target, &query);
    let reading = matches!(verb, "get" | "list" | "watch");
    CallInfo {
        service: "kubernetes",
        name: format!("{verb} {}", target.path()),
        summary: summary(incoming, &query, reading),
        mutating: !reading && !query.dry_run(),
        permission: RequiredPermission::Kubernetes(ResourceAttributes {
            name: target.name.clone().or_else(|| query.selected_name()),
            ..target.attributes(verb)
        }),
    }
}

fn summary(incoming: &Incoming, query: &Query, reading: bool) -> String {
    let options: Vec<String> = query
        .0
        .iter()
        .filter(|(key, _)| *key != "watch" && *key != "continue")
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mut text = options.join(" ");
    if !reading && !incoming.body.is_empty() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&String::from_utf8_lossy(&incoming.body));
    }
    if text.chars().count() > MAX_SUMMARY {
        text = text.chars().take(MAX_SUMMARY).chain(['…']).collect();
    }
    text
}

/// Parses the body as an object: JSON, YAML as `kubectl apply --server-side` sends it, or protobuf as `kubectl create
/// deployment` does.
pub(crate) fn body(incoming: &Incoming) -> Result<Value, StatusError> {
    let content_type = incoming.header(header::CONTENT_TYPE);
    let undecodable =
        |why: String| StatusError::bad_request(format!("the body cannot be decoded: {why}"));
    if content_type.contains("protobuf") {
        return wire_types::decode(&incoming.body).map_err(undecodable);
    }
    if content_type.contains("yaml") {
        let text = std::str::from_utf8(&incoming.body).map_err(|e| undecodable(e.to_string()))?;
        return yaml::read(text).map_err(undecodable);
    }
    serde_json::from_slice(&incoming.body).map_err(|e| undecodable(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{DEPLOYMENTS, NAMESPACES, NODES, PODS};
    use super::*;

    fn parsed(path: &str) -> Option<(&'static str, String, String, String)> {
        let target = ResourcePath::parse(path)?;
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        Some((
            target.resource.plural,
            part(&target.namespace),
            part(&target.name),
            part(&target.subresource),
        ))
    }

    #[test]
    fn a_selected_name_is_the_one_that_is_authorized() {
        let selected = |query: &str| Query::parse(query).selected_name();
        assert_eq!(selected("fieldSelector=metadata.name%3Dweb").as_deref(), Some("web"));
        let of_two = "watch=true&fieldSelector=status.phase%3DRunning,metadata.name%3D%3Dweb";
        assert_eq!(selected(of_two).as_deref(), Some("web"));
        for query in ["", "fieldSelector=metadata.name!%3Dweb", "labelSelector=metadata.name%3Dweb"]
        {
            assert_eq!(selected(query), None, "{query}");
        }
    }

    #[test]
    fn paths_of_every_form_are_parsed() {
        let is = |path, resource: &'static Kind, namespace: &str, name: &str, sub: &str| {
            let wanted = (resource.plural, namespace.to_owned(), name.to_owned(), sub.to_owned());
            assert_eq!(parsed(path), Some(wanted), "{path}");
        };
        is("/api/v1/nodes", &NODES, "", "", "");
        is("/api/v1/nodes/n1/status", &NODES, "", "n1", "status");
        is("/api/v1/pods", &PODS, "", "", "");
        is("/api/v1/namespaces/a/pods", &PODS, "a", "", "");
        is("/api/v1/namespaces/a/pods/p/eviction", &PODS, "a", "p", "eviction");
        is("/api/v1/namespaces", &NAMESPACES, "", "", "");
        is("/api/v1/namespaces/a", &NAMESPACES, "", "a", "");
        is("/api/v1/namespaces/a/status", &NAMESPACES, "", "a", "status");
        is("/apis/apps/v1/namespaces/a/deployments/d/scale", &DEPLOYMENTS, "a", "d", "scale");
        for path in ["/", "/api", "/api/v1", "/apis/apps/v1", "/api/v1/pods/p", "/api/v1/things"] {
            assert_eq!(parsed(path), None, "{path}");
        }
    }
}
