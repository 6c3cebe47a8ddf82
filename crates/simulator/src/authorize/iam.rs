//! IAM policy documents: their statements, and how these decide about an action on a resource. What
//! is not simulated is rejected by name when a document is read, so that no policy means more or
//! less here than on AWS. Knows no service.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::AccessPolicyError;

/// The condition keys that are simulated, in lower case.
const CONDITION_KEYS: [&str; 2] = ["aws:requestedregion", "ec2:region"];

/// The beginnings of the condition keys that end in the key of a tag, in lower case.
const TAG_KEYS: [&str; 2] = ["aws:resourcetag/", "autoscaling:resourcetag/"];

/// The reason why a statement of an IAM policy document cannot be enforced.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The statement lacks an element, or has one that is not simulated.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// The condition operator is not simulated.
    #[error(
        "the condition operator `{0}` is not simulated, only StringEquals, StringNotEquals and \
         StringLike, each also with IfExists"
    )]
    Operator(String),
    /// The condition key is not simulated.
    #[error(
        "the condition key `{0}` is not simulated, only aws:RequestedRegion, aws:ResourceTag/KEY, \
         autoscaling:ResourceTag/KEY and ec2:Region"
    )]
    Key(String),
    /// A resource or a condition has a policy variable.
    #[error("policy variables are not simulated: `{0}`")]
    Variable(String),
}

/// A statement of an identity-based policy.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    effect: StatementEffect,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

/// One key of one operator of a statement's `Condition`.
#[derive(Debug, Clone)]
struct Condition {
    operator: Operator,
    /// Whether the condition also holds if the request does not have the key.
    if_exists: bool,
    /// The key as it is written.
    key: String,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Equals,
    NotEquals,
    Like,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum StatementEffect {
    Allow,
    Deny,
}

#[derive(Deserialize)]
struct PolicyDocument {
    #[serde(rename = "Statement")]
    statement: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct StatementForm {
    #[serde(rename = "Sid", default)]
    _sid: Option<String>,
    effect: StatementEffect,
    action: OneOrMany,
    resource: OneOrMany,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMany>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an element is not a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Reads the statements of a policy document.
pub(super) fn read_statements(document: &Value) -> Result<Vec<Statement>, AccessPolicyError> {
    let document = PolicyDocument::deserialize(document).map_err(AccessPolicyError::Iam)?;
    let statements = match document.statement {
        Value::Array(statements) => statements,
        one => vec![one],
    };
    let numbered = (1..).zip(&statements);
    let read = numbered.map(|(number, statement)| {
        Statement::read(statement).map_err(|source| AccessPolicyError::Statement { number, source })
    });
    read.collect()
}

impl Statement {
    fn read(statement: &Value) -> Result<Self, StatementError> {
        let form = StatementForm::deserialize(statement)?;
        let mut conditions = Vec::new();
        for (name, keys) in form.condition {
            let (operator, if_exists) = parse_operator(&name)?;
            for (key, values) in keys {
                if !is_simulated(&key) {
                    return Err(StatementError::Key(key));
                }
                let values = without_variables(values)?;
                conditions.push(Condition { operator, if_exists, key, values });
            }
        }
        Ok(Self {
            effect: form.effect,
            actions: form.action.into_vec().iter().map(|action| action.to_lowercase()).collect(),
            resources: without_variables(form.resource)?,
            conditions,
        })
    }

    /// Returns whether the statement is about an action, in lower case, on a resource.
    fn is_about(&self, action: &str, resource: &str) -> bool {
        self.actions.iter().any(|pattern| matches_pattern(pattern, action))
            && self.resources.iter().any(|pattern| matches_pattern(pattern, resource))
    }
}

fn parse_operator(name: &str) -> Result<(Operator, bool), StatementError> {
    let (base, if_exists) = match name.strip_suffix("IfExists") {
        Some(base) => (base, true),
        None => (name, false),
    };
    let operator = match base {
        "StringEquals" => Operator::Equals,
        "StringNotEquals" => Operator::NotEquals,
        "StringLike" => Operator::Like,
        _ => return Err(StatementError::Operator(name.to_owned())),
    };
    Ok((operator, if_exists))
}

fn is_simulated(key: &str) -> bool {
    let key = key.to_lowercase();
    let names_tag = |prefix: &&str| key.len() > prefix.len() && key.starts_with(*prefix);
    CONDITION_KEYS.contains(&&*key) || TAG_KEYS.iter().any(names_tag)
}

fn without_variables(values: OneOrMany) -> Result<Vec<String>, StatementError> {
    let values = values.into_vec();
    match values.iter().find(|value| value.contains("${")) {
        Some(variable) => Err(StatementError::Variable(variable.clone())),
        None => Ok(values),
    }
}

impl Condition {
    /// Returns whether the condition holds. A key that the request does not have makes a positive
    /// operator false and a negated one true.
    fn holds(&self, context: &RequestContext) -> bool {
        let Some(actual) = context.get(&self.key) else {
            return self.if_exists || matches!(self.operator, Operator::NotEquals);
        };
        let any = |is_one: fn(&str, &str) -> bool| {
            self.values.iter().any(|value| actual.iter().any(|actual| is_one(value, actual)))
        };
        match self.operator {
            Operator::Equals => any(|value, actual| value == actual),
            Operator::NotEquals => !any(|value, actual| value == actual),
            Operator::Like => any(matches_pattern),
        }
    }
}

/// The condition keys of a request, in lower case, and their values. IAM compares keys without
/// regard to case.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RequestContext(BTreeMap<String, Vec<String>>);

impl RequestContext {
    /// Adds a key with its values.
    pub(crate) fn insert(&mut self, key: &str, values: Vec<String>) {
        self.0.insert(key.to_lowercase(), values);
    }

    fn get(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_lowercase()).map(Vec::as_slice)
    }
}

/// The decision of a policy about an action on a resource, the most restrictive one last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Decision {
    Allowed,
    ImplicitDeny,
    ExplicitDeny,
}

/// A decision and its reasons.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evaluation {
    pub(crate) decision: Decision,
    /// The positions of the statements that decided.
    pub(crate) matched: BTreeSet<usize>,
    /// The condition keys of the statements about the action and the resource that the request does
    /// not have.
    pub(crate) missing: BTreeSet<String>,
}

/// Decides about an action on a resource: it is denied if a statement denies it, and allowed if
/// another one allows it.
pub(super) fn evaluate(
    statements: &[Statement],
    action: &str,
    resource: &str,
    context: &RequestContext,
) -> Evaluation {
    let action = action.to_lowercase();
    let (mut allowing, mut denying, mut missing) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (position, statement) in statements.iter().enumerate() {
        if !statement.is_about(&action, resource) {
            continue;
        }
        let keys = statement.conditions.iter().map(|condition| &condition.key);
        missing.extend(keys.filter(|key| context.get(key).is_none()).cloned());
        if statement.conditions.iter().all(|condition| condition.holds(context)) {
            match statement.effect {
                StatementEffect::Allow => allowing.insert(position),
                StatementEffect::Deny => denying.insert(position),
            };
        }
    }
    let (decision, matched) = if !denying.is_empty() {
        (Decision::ExplicitDeny, denying)
    } else if !allowing.is_empty() {
        (Decision::Allowed, allowing)
    } else {
        (Decision::ImplicitDeny, BTreeSet::new())
    };
    Evaluation { decision, matched, missing }
}

/// Returns whether `text` matches `pattern`, in which `*` matches any characters and `?` any one
/// character.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut position) = (0, 0);
    // The last `*`, and the end of the text that it matches so far.
    let mut star: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(&one) if one == '?' || one == text[position] => {
                at += 1;
                position += 1;
            }
            _ => {
                let Some((before, end)) = star else { return false };
                star = Some((before, end + 1));
                (at, position) = (before + 1, end + 1);
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GROUP: &str = "arn:aws:autoscaling:us-west-2:1:autoScalingGroup:u:autoScalingGroupName/g";

    fn statements(statement: &Value) -> Vec<Statement> {
        read_statements(&json!({"Version": "2012-10-17", "Statement": statement})).unwrap()
    }

    fn context(entries: &[(&str, &str)]) -> RequestContext {
        let mut context = RequestContext::default();
        for (key, value) in entries {
            context.insert(key, vec![(*value).to_owned()]);
        }
        context
    }

    /// Returns whether protection may be set under a condition.
    fn is_allowed(condition: &Value, entries: &[(&str, &str)]) -> bool {
        let statements = statements(&json!({
            "Effect": "Allow",
            "Action": "autoscaling:SetInstanceProtection",
            "Resource": "arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/*",
            "Condition": condition,
        }));
        let action = "autoscaling:SetInstanceProtection";
        evaluate(&statements, action, GROUP, &context(entries)).decision == Decision::Allowed
    }

    #[test]
    fn a_condition_holds_if_one_of_its_values_is_that_of_the_request() {
        let condition =
            json!({"StringEquals": {"aws:RequestedRegion": ["us-east-1", "us-west-2"]}});
        assert!(is_allowed(&condition, &[("aws:RequestedRegion", "us-west-2")]));
        // Keys are compared without regard to case, values are not.
        assert!(is_allowed(&condition, &[("aws:requestedregion", "us-west-2")]));
        assert!(!is_allowed(&condition, &[("aws:RequestedRegion", "US-WEST-2")]));
        assert!(!is_allowed(&condition, &[("aws:RequestedRegion", "eu-west-1")]));
        assert!(is_allowed(&json!({}), &[]));
    }

    #[test]
    fn every_key_of_every_operator_must_hold() {
        let condition = json!({
            "StringEquals": {"aws:RequestedRegion": "us-west-2", "ec2:Region": "us-west-2"},
            "StringLike": {"autoscaling:ResourceTag/eks:nodegroup-name": ["relay-*", "core-?"]},
        });
        let region = [("aws:RequestedRegion", "us-west-2"), ("ec2:Region", "us-west-2")];
        let tag = "autoscaling:ResourceTag/eks:nodegroup-name";
        assert!(is_allowed(&condition, &[region[0], region[1], (tag, "relay-1")]));
        assert!(is_allowed(&condition, &[region[0], region[1], (tag, "core-1")]));
        assert!(!is_allowed(&condition, &[region[0], region[1], (tag, "core-12")]));
        assert!(!is_allowed(&condition, &[region[0], region[1]]));
        assert!(!is_allowed(&condition, &[region[0], (tag, "relay-1")]));
    }

    #[test]
    fn a_missing_key_makes_a_positive_operator_false_and_a_negated_one_true() {
        let key = "aws:ResourceTag/team";
        for (operator, missing, same, other) in [
            ("StringEquals", false, true, false),
            ("StringEqualsIfExists", true, true, false),
            ("StringLike", false, true, false),
            ("StringLikeIfExists", true, true, false),
            ("StringNotEquals", true, false, true),
            ("StringNotEqualsIfExists", true, false, true),
        ] {
            let condition = json!({operator: {key: ["a", "b"]}});
            assert_eq!(is_allowed(&condition, &[]), missing, "{operator} without the key");
            assert_eq!(is_allowed(&condition, &[(key, "b")]), same, "{operator} with b");
            assert_eq!(is_allowed(&condition, &[(key, "c")]), other, "{operator} with c");
        }
    }

    #[test]
    fn a_deny_applies_only_where_its_condition_holds() {
        let statements = statements(&json!([
            {"Effect": "Allow", "Action": "eks:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "EKS:Update*", "Resource": "*",
             "Condition": {"StringNotEquals": {"aws:RequestedRegion": "us-west-2"}}},
        ]));
        let decide = |action: &str, region: &str| {
            let context = context(&[("aws:RequestedRegion", region)]);
            let evaluation = evaluate(&statements, action, "arn:aws:eks:x", &context);
            (evaluation.decision, evaluation.matched.into_iter().collect::<Vec<_>>())
        };
        let update = "eks:UpdateNodegroupConfig";
        assert_eq!(decide(update, "us-west-2"), (Decision::Allowed, vec![0]));
        assert_eq!(decide(update, "eu-west-1"), (Decision::ExplicitDeny, vec![1]));
        assert_eq!(decide("eks:ListClusters", "eu-west-1"), (Decision::Allowed, vec![0]));
        assert_eq!(decide("ec2:DescribeInstances", "us-west-2"), (Decision::ImplicitDeny, vec![]));
    }

    #[test]
    fn missing_keys_are_those_of_the_statements_about_the_call() {
        let statements = statements(&json!([
            {"Effect": "Allow", "Action": "eks:*", "Resource": "*",
             "Condition": {"StringEquals": {"aws:RequestedRegion": "us-west-2"}}},
            {"Effect": "Allow", "Action": "ec2:*", "Resource": "*",
             "Condition": {"StringEquals": {"ec2:Region": "us-west-2"}}},
        ]));
        let missing = |context: &RequestContext| -> Vec<String> {
            evaluate(&statements, "eks:ListClusters", "*", context).missing.into_iter().collect()
        };
        assert_eq!(missing(&RequestContext::default()), ["aws:RequestedRegion"]);
        assert!(missing(&context(&[("aws:RequestedRegion", "x")])).is_empty());
    }

    #[test]
    fn what_is_not_simulated_is_an_error_that_names_it() {
        let statement = |changes: Value| {
            let mut statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
            for (element, value) in changes.as_object().unwrap() {
                statement[element] = value.clone();
            }
            statement
        };
        for (element, named) in [
            (json!({"NotAction": "*"}), "NotAction"),
            (json!({"NotResource": "*"}), "NotResource"),
            (json!({"Principal": "*"}), "Principal"),
            (json!({"Effect": "Permit"}), "Permit"),
            (json!({"Action": 1}), "not a string or a list of strings"),
            (json!({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}), "`Bool`"),
            (
                json!({"Condition": {"ForAnyValue:StringEquals": {"aws:TagKeys": "a"}}}),
                "`ForAnyValue:StringEquals`",
            ),
            (
                json!({"Condition": {"StringEquals": {"aws:PrincipalTag/team": "a"}}}),
                "`aws:PrincipalTag/team`",
            ),
            (
                json!({"Condition": {"StringEquals": {"aws:ResourceTag/": "a"}}}),
                "`aws:ResourceTag/`",
            ),
            (json!({"Condition": {"StringLike": {"ec2:Region": "${aws:x}"}}}), "`${aws:x}`"),
            (json!({"Resource": "arn:aws:s3:::${aws:username}"}), "`arn:aws:s3:::${aws:username}`"),
        ] {
            let good = statement(json!({}));
            let document = json!({"Statement": [good, statement(element)]});
            let message = read_statements(&document).unwrap_err().to_string();
            assert!(message.starts_with("statement 2 of the IAM policy: "), "{message}");
            assert!(message.contains(named), "{message}");
        }
        let message = read_statements(&json!({"Version": "2012-10-17"})).unwrap_err().to_string();
        assert_eq!(message, "not an IAM policy document: missing field `Statement`");
        let without_resource = json!({"Statement": {"Effect": "Allow", "Action": "*"}});
        let message = read_statements(&without_resource).unwrap_err().to_string();
        assert!(message.ends_with("missing field `Resource`"), "{message}");
    }

    #[test]
    fn patterns_have_wildcards_for_any_and_for_one_character() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*/a/*/b", "x/a/y/a/z/b", true),
            ("", "a", false),
            ("a**", "a", true),
        ] {
            assert_eq!(matches_pattern(pattern, text), matches, "{pattern} {text}");
        }
    }
}
