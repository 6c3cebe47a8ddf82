//! The limits of a runbook: how far its steps may go, whatever their parameters say.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::types::{Bounds, Field, LengthBounds, RecordType, Syntax, Text, Type};

/// The limits of a run, with the values of its inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Limits {
    /// How many nodes the nodegroups and Auto Scaling groups that the run sizes may have together.
    #[serde(default)]
    pub nodes_at_most: Option<u32>,
    /// How many nodes of the cluster may be cordoned at the same time.
    #[serde(default)]
    pub cordon_at_most: Option<Amount>,
    /// The workloads of which pods must stay Ready.
    #[serde(default)]
    pub keep_ready: Vec<KeptWorkload>,
}

impl Limits {
    /// Whether there is no limit.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A workload of which pods must stay Ready.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenWorkload")]
pub struct KeptWorkload {
    /// The workload.
    pub workload: Workload,
    /// How many of its pods must be Ready; a percentage is one of its replicas.
    pub at_least: Amount,
}

/// A workload that has pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The kind of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// A deployment.
    Deployment,
    /// A stateful set.
    StatefulSet,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            WorkloadKind::Deployment => "deployment",
            WorkloadKind::StatefulSet => "stateful set",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// An entry of `keep_ready` as written.
#[derive(Deserialize)]
struct WrittenWorkload {
    namespace: String,
    #[serde(default)]
    deployment: Option<String>,
    #[serde(default)]
    stateful_set: Option<String>,
    at_least: Amount,
}

impl From<WrittenWorkload> for KeptWorkload {
    fn from(written: WrittenWorkload) -> Self {
        // The check of the runbook has made sure that there is exactly one of them.
        let (kind, name) = match written.stateful_set {
            Some(name) => (WorkloadKind::StatefulSet, name),
            None => (WorkloadKind::Deployment, written.deployment.unwrap_or_default()),
        };
        let workload = Workload { kind, namespace: written.namespace, name };
        Self { workload, at_least: written.at_least }
    }
}

/// A number, or a percentage of a number that is known later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Amount {
    /// The number.
    Count(u32),
    /// The percentage, from 0 to 100.
    Percent(u32),
}

/// A text that is not a valid amount.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not {sentence}", sentence = Syntax::Amount.sentence())]
pub struct InvalidAmount(String);

impl Amount {
    /// Returns the amount of a whole as the greatest number that is not above it.
    pub fn at_most_of(self, whole: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => product(percent, whole) / 100,
        }
    }

    /// Returns the amount of a whole as the least number that is not below it.
    pub fn at_least_of(self, whole: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => product(percent, whole).div_ceil(100),
        }
    }
}

fn product(percent: u32, whole: usize) -> usize {
    usize::try_from(percent).unwrap_or(usize::MAX).saturating_mul(whole)
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Amount {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let number = |digits: &str, most: usize| {
            let is_number = (1..=most).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|_| is_number)
        };
        let amount = match text.strip_suffix('%') {
            Some(digits) => number(digits, 3).filter(|percent| *percent <= 100).map(Self::Percent),
            None => number(text, 9).map(Self::Count),
        };
        amount.ok_or_else(|| InvalidAmount(text.to_owned()))
    }
}

impl TryFrom<String> for Amount {
    type Error = InvalidAmount;

    fn try_from(text: String) -> Result<Self, InvalidAmount> {
        text.parse()
    }
}

/// A limit that a runbook can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// See [`Limits::nodes_at_most`].
    NodesAtMost,
    /// See [`Limits::cordon_at_most`].
    CordonAtMost,
    /// See [`Limits::keep_ready`].
    KeepReady,
}

impl LimitKind {
    pub(crate) const ALL: [Self; 3] = [Self::NodesAtMost, Self::CordonAtMost, Self::KeepReady];

    /// Returns the key of the limit.
    pub fn key(self) -> &'static str {
        match self {
            Self::NodesAtMost => "nodes_at_most",
            Self::CordonAtMost => "cordon_at_most",
            Self::KeepReady => "keep_ready",
        }
    }

    /// Says what reaches the limit.
    pub(crate) fn reached_by(self) -> &'static str {
        match self {
            Self::NodesAtMost => "sets the size of a nodegroup or an Auto Scaling group",
            Self::CordonAtMost => "cordons nodes",
            Self::KeepReady => "takes pods or nodes away",
        }
    }
}

/// The most nodes that `nodes_at_most` can allow.
const MOST_NODES: i128 = 100_000;

/// Returns the type of `limits`.
pub(crate) fn record() -> RecordType {
    let with_syntax = |syntax| Type::String(Text { syntax: Some(syntax), ..Text::default() });
    let (name, amount) = (with_syntax(Syntax::KubernetesName), with_syntax(Syntax::Amount));
    let nodes = Type::Integer(Bounds { minimum: Some(1), maximum: Some(MOST_NODES) });
    let kept = RecordType {
        name: "keep_ready".to_owned(),
        fields: vec![
            field("namespace", name.clone(), true, "The namespace of the workload."),
            field("deployment", name.clone().or_null(), false, "The name of a deployment."),
            field("stateful_set", name.or_null(), false, "The name of a stateful set."),
            field(
                "at_least",
                amount.clone(),
                true,
                "How many of its pods must be Ready: a number, or a percentage of its replicas.",
            ),
        ],
        exactly_one_of: vec![vec!["deployment".to_owned(), "stateful_set".to_owned()]],
        relations: Vec::new(),
        ..RecordType::default()
    };
    let one_or_more = LengthBounds { minimum: Some(1), maximum: None };
    RecordType {
        name: "limits".to_owned(),
        fields: vec![
            field(
                LimitKind::NodesAtMost.key(),
                nodes.or_null(),
                false,
                "How many nodes the nodegroups and Auto Scaling groups that the run sizes may have \
                 together.",
            ),
            field(
                LimitKind::CordonAtMost.key(),
                amount.or_null(),
                false,
                "How many nodes of the cluster may be cordoned at the same time: a number, or a \
                 percentage of all nodes.",
            ),
            field(
                LimitKind::KeepReady.key(),
                Type::List(Box::new(Type::Record(Arc::new(kept))), one_or_more),
                false,
                "The workloads of which pods must stay Ready, whatever the run takes away.",
            ),
        ],
        ..RecordType::default()
    }
}

fn field(name: &str, ty: Type, required: bool, description: &str) -> Field {
    Field { required, description: description.to_owned(), ..Field::required(name, ty) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_number_or_a_percentage() {
        for (text, amount) in [
            ("0", Some(Amount::Count(0))),
            ("12", Some(Amount::Count(12))),
            ("0%", Some(Amount::Percent(0))),
            ("50%", Some(Amount::Percent(50))),
            ("100%", Some(Amount::Percent(100))),
            ("101%", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("33.3%", None),
            ("%", None),
            ("", None),
            ("9999999999", None),
        ] {
            assert_eq!(text.parse::<Amount>().ok(), amount, "{text}");
            assert_eq!(Syntax::Amount.matches(text), amount.is_some(), "{text}");
        }
    }

    #[test]
    fn a_percentage_never_allows_more_and_never_requires_less() {
        let half = Amount::Percent(50);
        assert_eq!((half.at_most_of(3), half.at_least_of(3)), (1, 2));
        assert_eq!((half.at_most_of(4), half.at_least_of(4)), (2, 2));
        let third = Amount::Percent(33);
        assert_eq!((third.at_most_of(3), third.at_least_of(3)), (0, 1));
        assert_eq!(Amount::Count(5).at_most_of(3), 5);
    }

    #[test]
    fn every_limit_has_a_field_and_a_name() {
        let record = record();
        let names: Vec<&str> = record.names().collect();
        assert_eq!(names, LimitKind::ALL.map(LimitKind::key));
        for kind in LimitKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.key());
        }
    }
}
