//! The string formats of this domain: names, label keys, regions, instance ids, paths.

use crate::limits::Amount;
use crate::objects::ObjectPath;

/// A string format that is checked character by character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// An RFC 1123 name: the name of a namespace, a deployment, a node.
    KubernetesName,
    /// `[prefix/]name`, the key of a label or annotation.
    LabelKey,
    /// The value of a Kubernetes label.
    LabelValue,
    /// `us-west-2`, `us-gov-east-1`.
    AwsRegion,
    /// `i-` and 8 or 17 hexadecimal digits.
    InstanceId,
    /// The name of an EKS cluster or nodegroup.
    EksName,
    /// A path to a field of an object.
    ObjectPath,
    /// A number or a percentage.
    Amount,
}

/// The limit of `ObjectMeta` names: they are DNS subdomains, which RFC 1123 limits to 253.
const MAX_NAME_LENGTH: usize = 253;
/// The limit of the part of a label key after the slash, and of a label value.
const MAX_LABEL_LENGTH: usize = 63;

impl Syntax {
    /// Returns the syntax with a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "kubernetes-name" => Self::KubernetesName,
            "label-key" => Self::LabelKey,
            "label-value" => Self::LabelValue,
            "aws-region" => Self::AwsRegion,
            "instance-id" => Self::InstanceId,
            "eks-name" => Self::EksName,
            "object-path" => Self::ObjectPath,
            "amount" => Self::Amount,
            _ => return None,
        })
    }

    /// The names of all syntaxes.
    pub const NAMES: [&'static str; 8] = [
        "kubernetes-name",
        "label-key",
        "label-value",
        "aws-region",
        "instance-id",
        "eks-name",
        "object-path",
        "amount",
    ];

    /// Returns the display name of the syntax.
    pub fn describe(self) -> &'static str {
        match self {
            Self::KubernetesName => "a Kubernetes name",
            Self::LabelKey => "a label key",
            Self::LabelValue => "a label value",
            Self::AwsRegion => "an AWS region",
            Self::InstanceId => "an EC2 instance id",
            Self::EksName => "a name of EKS",
            Self::ObjectPath => "a path to a field",
            Self::Amount => "a number or a percentage",
        }
    }

    /// Describes a string of the syntax.
    pub fn explain(self) -> &'static str {
        match self {
            Self::KubernetesName => {
                "lowercase letters, digits, '-' and '.', starting and ending with a letter or digit"
            }
            Self::LabelKey => {
                "at most 63 letters, digits, '-', '_' and '.', optionally after 'DNS-PREFIX/'"
            }
            Self::LabelValue => {
                "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
            }
            Self::AwsRegion => "such as us-west-2",
            Self::InstanceId => "'i-' and 8 or 17 hexadecimal digits",
            Self::EksName => {
                "at most 100 letters, digits, '-' and '_', starting with a letter or digit"
            }
            Self::ObjectPath => {
                "such as .spec.replicas, .spec.containers[0].image or .metadata.labels['a/b']"
            }
            Self::Amount => "such as 2 or 50%, and at most 100%",
        }
    }

    /// Returns the name with the description: "an AWS region, such as us-west-2".
    pub fn sentence(self) -> String {
        let is_example = matches!(self, Self::AwsRegion | Self::ObjectPath | Self::Amount);
        let joint = if is_example { "," } else { ":" };
        format!("{}{joint} {}", self.describe(), self.explain())
    }

    /// Returns the syntax as a regular expression, for editors. The expression limits the length of
    /// labels only.
    pub fn pattern(self) -> String {
        const NAME: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
        const LABEL: &str = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?";
        match self {
            Self::KubernetesName => format!("^{NAME}(\\.{NAME})*$"),
            Self::LabelKey => format!("^({NAME}(\\.{NAME})*/)?{LABEL}$"),
            Self::LabelValue => format!("^({LABEL})?$"),
            Self::AwsRegion => "^[a-z]{2}(-[a-z]+)+-[0-9]+$".to_owned(),
            Self::InstanceId => "^i-([0-9a-f]{8}|[0-9a-f]{17})$".to_owned(),
            Self::EksName => "^[0-9A-Za-z][-0-9A-Za-z_]{0,99}$".to_owned(),
            Self::ObjectPath => {
                const KEY: &str = "[A-Za-z0-9_$-]+";
                const INSIDE: &str = "\\[([0-9]+|'[^']+')\\]";
                format!("^(\\.?{KEY}|{INSIDE})(\\.{KEY}|{INSIDE})*$")
            }
            Self::Amount => "^([0-9]{1,9}|([0-9]{1,2}|0[0-9]{2}|100)%)$".to_owned(),
        }
    }

    /// Whether a string has the syntax.
    pub fn matches(self, text: &str) -> bool {
        match self {
            Self::KubernetesName => is_name(text),
            Self::LabelKey => is_label_key(text),
            Self::LabelValue => text.is_empty() || is_label(text),
            Self::AwsRegion => is_region(text),
            Self::InstanceId => is_instance_id(text),
            Self::EksName => is_eks_name(text),
            Self::ObjectPath => ObjectPath::parse(text).is_some(),
            Self::Amount => text.parse::<Amount>().is_ok(),
        }
    }
}

/// The limit and the letters are those of a cluster.
/// <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html>
fn is_eks_name(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=100).contains(&text.len())
        && text.bytes().all(inside)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn is_name(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_NAME_LENGTH
        && text.split('.').all(|part| {
            let inside = part.bytes().all(|byte| edge(byte) || byte == b'-');
            inside && has_edges(part, edge)
        })
}

fn is_label(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_alphanumeric();
    let inside = |byte: u8| edge(byte) || b"-_.".contains(&byte);
    text.len() <= MAX_LABEL_LENGTH && text.bytes().all(inside) && has_edges(text, edge)
}

fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_name(prefix) && is_label(name),
        None => is_label(text),
    }
}

/// Whether the first and the last character satisfy a condition.
fn has_edges(text: &str, edge: impl Fn(u8) -> bool) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.into_iter().all(|byte| byte.is_some_and(&edge))
}

/// Two letters, one or more words, a number: the format of all AWS regions so far.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, words @ .., number] = parts.as_slice() else {
        return false;
    };
    let lower = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    area.len() == 2 && lower(area) && !words.is_empty() && words.iter().all(lower) && digits
}

fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|id| {
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        matches!(id.len(), 8 | 17) && id.bytes().all(hexadecimal)
    })
}

#[cfg(test)]
mod tests {
    use super::Syntax::*;

    #[test]
    fn forms_admit_what_the_platform_admits() {
        for (syntax, good, bad) in [
            (
                KubernetesName,
                vec!["rafay-core", "ip-10-0-1-7.us-west-2.compute.internal", "a"],
                vec!["", "Rafay", "-a", "a-", "a..b", "a_b", "über"],
            ),
            (
                LabelKey,
                vec!["Name", "eks.amazonaws.com/nodegroup", "a_b.c"],
                vec!["", "/a", "a/", "a/b/c", "Bad.Prefix/x", "-a"],
            ),
            (LabelValue, vec!["", "nodegroup-relay-services"], vec!["a b", "-"]),
            (
                AwsRegion,
                vec!["us-west-2", "us-gov-east-1", "ap-southeast-10"],
                vec!["", "us-west", "us-west-2a", "uswest-2", "us--2", "US-west-2"],
            ),
            (
                InstanceId,
                vec!["i-0123abcd", "i-0123456789abcdef0"],
                vec!["", "i-", "i-0123ABCD", "i-012345678", "0123abcd"],
            ),
        ] {
            for text in good {
                assert!(syntax.matches(text), "{syntax:?} {text}");
            }
            for text in bad {
                assert!(!syntax.matches(text), "{syntax:?} {text}");
            }
        }
    }
}
