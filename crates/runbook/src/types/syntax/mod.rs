//! The kinds and formats of strings of this domain: names of nodes and pods, instance ids, label keys, regions. Each is
//! checked without a cluster, and a value of one kind is not accepted where another kind is wanted.

mod checks;
mod image;
mod quantity;
mod selector;
mod url;

pub(crate) use quantity::quantity;

use crate::limits::Amount;
use crate::objects::ObjectPath;

/// The kind or the format of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// An RFC 1123 name: the name of any object of Kubernetes.
    KubernetesName,
    /// The name of a namespace.
    Namespace,
    /// The name of a node.
    NodeName,
    /// The name of a pod.
    PodName,
    /// The name of a deployment.
    DeploymentName,
    /// The name of a stateful set.
    StatefulSetName,
    /// The name of a daemon set.
    DaemonSetName,
    /// The UID of an object of Kubernetes.
    Uid,
    /// `[prefix/]name`, the key of a label or annotation.
    LabelKey,
    /// The value of a Kubernetes label.
    LabelValue,
    /// A label selector, as kubectl's `--selector`.
    LabelSelector,
    /// A reference to a container image.
    Image,
    /// An amount of a resource of Kubernetes.
    Quantity,
    /// `us-west-2`, `us-gov-east-1`.
    AwsRegion,
    /// An Amazon Resource Name.
    Arn,
    /// `i-` and 8 or 17 hexadecimal digits.
    InstanceId,
    /// The name of a thing of EKS.
    EksName,
    /// The name of an EKS cluster.
    ClusterName,
    /// The name of an EKS nodegroup.
    NodegroupName,
    /// The name of an Auto Scaling group.
    AutoScalingGroupName,
    /// A path to a field of an object.
    ObjectPath,
    /// A number or a percentage.
    Amount,
    /// An address of http or https.
    Url,
    /// `us-west-2a`, `us-west-2-lax-1a`.
    AvailabilityZone,
    /// A version of Kubernetes as EKS writes it: `1.35`.
    KubernetesVersion,
    /// The version of a kubelet, or the first components of it: `1.33`, `v1.33.2-eks-1a2b3c`.
    KubeletVersion,
    /// The release of an image of EKS: `1.35.2-20260901`.
    EksRelease,
    /// The reason of an Event.
    EventReason,
}

/// The facts about a syntax besides its check.
struct Facts {
    syntax: Syntax,
    /// The name in a schema and in `syntax:`.
    name: &'static str,
    /// The noun in messages, with its article.
    noun: &'static str,
    /// The description of a string of the syntax.
    explanation: &'static str,
    /// Whether the description is an example.
    is_example: bool,
    example: &'static str,
    /// The more general syntax that also describes its strings.
    general: Option<Syntax>,
    /// Whether its strings name things of one kind, and not only have a format.
    is_kind: bool,
}

const NAME: &str =
    "lowercase letters, digits, '-' and '.', starting and ending with a letter or digit";

/// All syntaxes, in the order of the enum.
const FACTS: [Facts; 28] = [
    Facts {
        syntax: Syntax::KubernetesName,
        name: "kubernetes-name",
        noun: "a Kubernetes name",
        explanation: NAME,
        is_example: false,
        example: "rafay-core",
        general: None,
        is_kind: false,
    },
    Facts {
        syntax: Syntax::Namespace,
        name: "namespace",
        noun: "a namespace",
        explanation: "at most 63 lowercase letters, digits and '-', starting and ending with a letter or digit",
        is_example: false,
        example: "rafay-core",
        general: Some(Syntax::KubernetesName),
        is_kind: true,
    },
    Facts {
        syntax: Syntax::NodeName,
        name: "node-name",
        noun: "a node name",
        explanation: NAME,
        is_example: false,
        example: "ip-10-0-1-7.us-west-2.compute.internal",
        general: Some(Syntax::KubernetesName),
        is_kind: true,
    },
    Facts {
        syntax: Syntax::PodName,
        name: "pod-name",
        noun: "a pod name",
        explanation: NAME,
        is_example: false,
        example: "rafay-relay-7d9c6b5f4-x2x4p",
        general: Some(Syntax::KubernetesName),
        is_kind: true,
    },
    Facts {
        syntax: Syntax::DeploymentName,
        name: "deployment-name",
        noun: "a deployment name",
        explanation: NAME,
        is_example: false,
        example: "rafay-relay",
        general: Some(Syntax::KubernetesName),
        is_kind: true,
    },
    Facts {
        syntax: Syntax::StatefulSetName,
        name: "stateful-set-name",
        noun: "a stateful set name",
        explanation: NAME,
        is_example: false,
        example: "postgres",
        general: Some(Syntax::KubernetesName),
        is_kind: true,
    },
    Facts {
        syntax: Syntax::DaemonSetName,
        name: "daemon-set-name",
        noun: "a daemon set name",
        explanation: NAME,
        is_example: false,
        example: "aws-node",
        general: Some(Syntax::KubernetesName),
        is_kind: true,
    },
    Facts {
        syntax: Syntax::Uid,
        name: "uid",
        noun: "a UID",
        explanation: "the metadata.uid of an object",
        is_example: true,
        example: "6f1d3c1e-2f0a-4a59-9d5a-0b9a8e1c7a55",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::LabelKey,
        name: "label-key",
        noun: "a label key",
        explanation: "at most 63 letters, digits, '-', '_' and '.', optionally after 'DNS-PREFIX/'",
        is_example: false,
        example: "app.kubernetes.io/name",
        general: None,
        is_kind: false,
    },
    Facts {
        syntax: Syntax::LabelValue,
        name: "label-value",
        noun: "a label value",
        explanation: "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
        is_example: false,
        example: "nodegroup-relay-services",
        general: None,
        is_kind: false,
    },
    Facts {
        syntax: Syntax::LabelSelector,
        name: "label-selector",
        noun: "a label selector",
        explanation: "such as app=relay,tier in (web, api) or !canary",
        is_example: true,
        example: "app=rafay-relay",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::Image,
        name: "image",
        noun: "a container image",
        explanation: "such as registry.example.com/relay:1.4.2, or with @sha256: and a digest",
        is_example: true,
        example: "registry.example.com/relay:1.4.2",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::Quantity,
        name: "quantity",
        noun: "a quantity",
        explanation: "such as 500m, 2 or 1Gi",
        is_example: true,
        example: "500m",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::AwsRegion,
        name: "aws-region",
        noun: "an AWS region",
        explanation: "such as us-west-2",
        is_example: true,
        example: "us-west-2",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::Arn,
        name: "arn",
        noun: "an ARN",
        explanation: "such as arn:aws:eks:us-west-2:111122223333:cluster/relay",
        is_example: true,
        example: "arn:aws:eks:us-west-2:111122223333:cluster/relay",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::InstanceId,
        name: "instance-id",
        noun: "an EC2 instance id",
        explanation: "'i-' and 8 or 17 hexadecimal digits",
        is_example: false,
        example: "i-0123456789abcdef0",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::EksName,
        name: "eks-name",
        noun: "a name of EKS",
        explanation: "at most 100 letters, digits, '-' and '_', starting with a letter or digit",
        is_example: false,
        example: "rafay-cluster",
        general: None,
        is_kind: false,
    },
    Facts {
        syntax: Syntax::ClusterName,
        name: "cluster-name",
        noun: "an EKS cluster name",
        explanation: "at most 100 letters, digits, '-' and '_', starting with a letter or digit",
        is_example: false,
        example: "rafay-cluster",
        general: Some(Syntax::EksName),
        is_kind: true,
    },
    Facts {
        syntax: Syntax::NodegroupName,
        name: "nodegroup-name",
        noun: "a nodegroup name",
        explanation: "at most 63 letters, digits, '-' and '_', starting with a letter or digit",
        is_example: false,
        example: "relay-services",
        general: Some(Syntax::EksName),
        is_kind: true,
    },
    Facts {
        syntax: Syntax::AutoScalingGroupName,
        name: "auto-scaling-group-name",
        noun: "an Auto Scaling group name",
        explanation: "1 to 255 characters",
        is_example: false,
        example: "eks-relay-services-1a2b3c",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::ObjectPath,
        name: "object-path",
        noun: "a path to a field",
        explanation: "such as .spec.replicas, .spec.containers[0].image or .metadata.labels['a/b']",
        is_example: true,
        example: ".spec.replicas",
        general: None,
        is_kind: false,
    },
    Facts {
        syntax: Syntax::Amount,
        name: "amount",
        noun: "a number or a percentage",
        explanation: "such as 2 or 50%, and at most 100%",
        is_example: true,
        example: "50%",
        general: None,
        is_kind: false,
    },
    Facts {
        syntax: Syntax::Url,
        name: "url",
        noun: "a URL",
        explanation: "such as https://relay.example.com/healthz: of http or https, with a host, without a user or a password, and not of a link-local address",
        is_example: true,
        example: "https://relay.example.com/healthz",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::AvailabilityZone,
        name: "availability-zone",
        noun: "an availability zone",
        explanation: "such as us-west-2a",
        is_example: true,
        example: "us-west-2a",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::KubernetesVersion,
        name: "kubernetes-version",
        noun: "a Kubernetes version",
        explanation: "such as 1.35",
        is_example: true,
        example: "1.35",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::KubeletVersion,
        name: "kubelet-version",
        noun: "a version of the kubelet",
        explanation: "such as 1.33, or all of v1.33.2-eks-1a2b3c",
        is_example: true,
        example: "1.33",
        general: None,
        is_kind: false,
    },
    Facts {
        syntax: Syntax::EksRelease,
        name: "eks-release",
        noun: "a release of an EKS image",
        explanation: "such as 1.35.2-20260901",
        is_example: true,
        example: "1.35.2-20260901",
        general: None,
        is_kind: true,
    },
    Facts {
        syntax: Syntax::EventReason,
        name: "event-reason",
        noun: "the reason of an Event",
        explanation: "one word that starts with a capital letter, such as Maintenance",
        is_example: false,
        example: "Maintenance",
        general: None,
        is_kind: false,
    },
];

impl Syntax {
    fn facts(self) -> &'static Facts {
        // Each variant has a row, in its order, which a test holds.
        &FACTS[self as usize]
    }

    /// Returns the syntax with a name.
    pub fn from_name(name: &str) -> Option<Self> {
        FACTS.iter().find(|facts| facts.name == name).map(|facts| facts.syntax)
    }

    /// The names of all syntaxes.
    pub const NAMES: [&'static str; FACTS.len()] = {
        let mut names = [""; FACTS.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = FACTS[index].name;
            index += 1;
        }
        names
    };

    /// Returns the names of all syntaxes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter()
    }

    /// Returns the noun with its article: `a node name`.
    pub fn describe(self) -> &'static str {
        self.facts().noun
    }

    /// Returns the noun: `node name`.
    pub fn noun(self) -> &'static str {
        let noun = self.describe();
        noun.split_once(' ').map_or(noun, |(_, noun)| noun)
    }

    /// Returns the noun in the plural: `node names`.
    pub fn plural(self) -> String {
        let noun = self.noun();
        noun.strip_suffix('y').map_or_else(|| format!("{noun}s"), |stem| format!("{stem}ies"))
    }

    /// Describes a string of the syntax.
    pub fn explain(self) -> &'static str {
        self.facts().explanation
    }

    /// Returns a string of the syntax.
    pub fn example(self) -> &'static str {
        self.facts().example
    }

    /// Returns whether the strings name things of one kind, such as nodes, and not only have a format.
    pub fn is_kind(self) -> bool {
        self.facts().is_kind
    }

    /// Returns the name with the description: "an AWS region, such as us-west-2".
    pub fn sentence(self) -> String {
        let joint = if self.facts().is_example { "," } else { ":" };
        format!("{}{joint} {}", self.describe(), self.explain())
    }

    /// Returns whether a string that is known to have the syntax `from` can be one of this syntax: it is of the same
    /// kind, or one of the two describes strings of several kinds.
    pub(crate) fn accepts(self, from: Self) -> bool {
        let is_general_of = |one: Self, other: Self| other.facts().general == Some(one);
        if self == from || is_general_of(self, from) || is_general_of(from, self) {
            return true;
        }
        match (self.is_kind(), from.is_kind()) {
            (true, true) => false,
            // The name of a thing is accepted where any text of the format is, if it has the format.
            (false, true) => self.matches(from.example()),
            (true, false) => from.matches(self.example()),
            (false, false) => true,
        }
    }

    /// Returns the syntax as a regular expression, for editors. The expression limits the length of
    /// labels only.
    pub fn pattern(self) -> String {
        const NAME: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
        const LABEL: &str = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?";
        match self {
            Self::KubernetesName
            | Self::NodeName
            | Self::PodName
            | Self::DeploymentName
            | Self::StatefulSetName
            | Self::DaemonSetName => format!("^{NAME}(\\.{NAME})*$"),
            Self::Namespace => "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$".to_owned(),
            Self::LabelKey => format!("^({NAME}(\\.{NAME})*/)?{LABEL}$"),
            Self::LabelValue => format!("^({LABEL})?$"),
            Self::AwsRegion => "^[a-z]{2}(-[a-z]+)+-[0-9]+$".to_owned(),
            Self::InstanceId => "^i-([0-9a-f]{8}|[0-9a-f]{17})$".to_owned(),
            Self::EksName | Self::ClusterName => "^[0-9A-Za-z][-0-9A-Za-z_]{0,99}$".to_owned(),
            Self::NodegroupName => "^[0-9A-Za-z][-0-9A-Za-z_]{0,62}$".to_owned(),
            Self::Arn => "^arn:aws[-a-z]*:[-a-z0-9]+:[-a-z0-9]*:([0-9]{12}|aws)?:.+$".to_owned(),
            Self::ObjectPath => {
                const KEY: &str = "[A-Za-z0-9_$-]+";
                const INSIDE: &str = "\\[([0-9]+|'[^']+')\\]";
                format!("^(\\.?{KEY}|{INSIDE})(\\.{KEY}|{INSIDE})*$")
            }
            Self::Amount => "^([0-9]{1,9}|([0-9]{1,2}|0[0-9]{2}|100)%)$".to_owned(),
            Self::Quantity => "^[+-]?[0-9.]+([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$".to_owned(),
            Self::Image => "^[A-Za-z0-9][-A-Za-z0-9._:/@]*$".to_owned(),
            Self::LabelSelector | Self::AutoScalingGroupName => "^.+$".to_owned(),
            Self::Uid => "^\\S+$".to_owned(),
            Self::Url => "^https?://[^\\s/@]+(/\\S*)?$".to_owned(),
            Self::AvailabilityZone => {
                "^[a-z]{2}(-[a-z]+)+-[0-9]+(-[a-z]+-[0-9]+)?[a-z]$".to_owned()
            }
            Self::KubernetesVersion => "^[0-9]+\\.[0-9]+$".to_owned(),
            Self::KubeletVersion => "^v?[0-9]+(\\.[0-9]+){0,2}([-+][-+.0-9A-Za-z]+)?$".to_owned(),
            Self::EksRelease => {
                "^[0-9]+\\.[0-9]+(\\.[0-9]+-[0-9A-Za-z]+|-[0-9]+\\.[0-9]+\\.[0-9]+)$".to_owned()
            }
            Self::EventReason => "^[A-Z][A-Za-z0-9]*$".to_owned(),
        }
    }

    /// Whether a string has the syntax.
    pub fn matches(self, text: &str) -> bool {
        match self {
            Self::KubernetesName
            | Self::NodeName
            | Self::PodName
            | Self::DeploymentName
            | Self::StatefulSetName
            | Self::DaemonSetName => checks::is_name(text),
            Self::Namespace => checks::is_name_of_label_length(text),
            Self::Uid => !text.is_empty() && !text.contains(char::is_whitespace),
            Self::LabelKey => checks::is_label_key(text),
            Self::LabelValue => text.is_empty() || checks::is_label(text),
            Self::LabelSelector => selector::is_selector(text),
            Self::Image => image::is_image(text),
            Self::Quantity => quantity::is_quantity(text),
            Self::AwsRegion => checks::is_region(text),
            Self::Arn => checks::is_arn(text),
            Self::InstanceId => checks::is_instance_id(text),
            Self::EksName | Self::ClusterName => checks::is_eks_name(text, 100),
            Self::NodegroupName => checks::is_eks_name(text, 63),
            Self::AutoScalingGroupName => (1..=255).contains(&text.chars().count()),
            // `$.spec` is JSONPath, and would be read as a field of that name.
            Self::ObjectPath => !text.starts_with('$') && ObjectPath::parse(text).is_some(),
            Self::Amount => text.parse::<Amount>().is_ok(),
            Self::Url => url::is_url(text),
            Self::AvailabilityZone => checks::is_zone(text),
            Self::KubernetesVersion => checks::is_version(text),
            Self::KubeletVersion => checks::is_kubelet_version(text),
            Self::EksRelease => checks::is_release(text),
            Self::EventReason => {
                text.starts_with(|first: char| first.is_ascii_uppercase())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric())
            }
        }
    }

    /// Returns why a text has not the syntax, where that is more than the description of the syntax.
    pub(crate) fn refusal(self, text: &str) -> Option<&'static str> {
        match self {
            Self::Url => url::refusal(text),
            Self::Image => image::refusal(text),
            Self::LabelSelector if text.matches('(').count() > text.matches(')').count() => {
                Some("a ')' is missing: close the parenthesis")
            }
            Self::LabelSelector if text.contains("=!") => {
                Some("'=!' is not an operator: write '!=' for a label that has another value")
            }
            Self::LabelSelector if text.contains("===") || text.contains("!==") => {
                Some("write one '=' for a label that has the value, and '!=' for one that has not")
            }
            Self::LabelSelector if text.contains("&&") || text.contains(" and ") => {
                Some("join the conditions with a comma, as in app=relay,tier=web")
            }
            Self::LabelSelector if text.contains("||") || text.contains(" or ") => {
                Some("a selector has no 'or'; for several values: tier in (web, api)")
            }
            Self::LabelSelector
                if text.contains(' ') && text.split(' ').all(|one| one.contains('=')) =>
            {
                Some("separate the conditions by a comma, as in app=relay,tier=web")
            }
            Self::LabelSelector if text.contains(':') => {
                Some("write '=' between a label and its value, as in app=relay")
            }
            Self::AvailabilityZone if Self::AwsRegion.matches(text) => {
                Some("this is a region: add the letter of one of its zones, as in us-east-1a")
            }
            Self::AwsRegion if Self::AvailabilityZone.matches(text) => {
                Some("this is a zone: leave its letter out, as in us-east-1")
            }
            _ => None,
        }
    }

    /// Returns a text that can be in the place of any part of a string; none if it depends on the part.
    fn filler(self) -> Option<&'static str> {
        match self {
            Self::KubernetesName
            | Self::Namespace
            | Self::NodeName
            | Self::PodName
            | Self::DeploymentName
            | Self::StatefulSetName
            | Self::DaemonSetName
            | Self::LabelKey
            | Self::LabelValue
            | Self::LabelSelector
            | Self::EksName
            | Self::ClusterName
            | Self::NodegroupName => Some("a"),
            Self::Amount | Self::Quantity => Some("1"),
            Self::AutoScalingGroupName
            | Self::Uid
            | Self::Image
            | Self::AwsRegion
            | Self::Arn
            | Self::InstanceId
            | Self::Url
            | Self::AvailabilityZone
            | Self::KubernetesVersion
            | Self::KubeletVersion
            | Self::EksRelease
            | Self::EventReason
            | Self::ObjectPath => None,
        }
    }

    /// Returns a text that can be in the place of any part of a string that begins with this text.
    pub(crate) fn filler_after(self, start: &str) -> Option<&'static str> {
        match self {
            // A number can be a host, a port and a part of a path.
            Self::Url => start.contains("://").then_some("1"),
            // It can be a port, a part of the path, and a tag, but no digest.
            Self::Image => start.contains('/').then_some("1"),
            _ => self.filler(),
        }
    }

    /// Returns the first character that no string of the syntax contains, with its position, in a part of a string.
    pub(crate) fn foreign_character(self, part: &str) -> Option<(usize, char)> {
        let is_allowed = |c: char| match self {
            Self::KubernetesName
            | Self::NodeName
            | Self::PodName
            | Self::DeploymentName
            | Self::StatefulSetName
            | Self::DaemonSetName => {
                c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c)
            }
            Self::Namespace | Self::AwsRegion | Self::AvailabilityZone | Self::InstanceId => {
                c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
            }
            Self::EksName | Self::ClusterName | Self::NodegroupName => {
                c.is_ascii_alphanumeric() || "-_".contains(c)
            }
            Self::LabelKey => c.is_ascii_alphanumeric() || "-_./".contains(c),
            Self::LabelValue => c.is_ascii_alphanumeric() || "-_.".contains(c),
            Self::Image => c.is_ascii_alphanumeric() || "-_./:@".contains(c),
            Self::Quantity => c.is_ascii_alphanumeric() || "+-.".contains(c),
            Self::Amount => c.is_ascii_digit() || c == '%',
            Self::LabelSelector => c.is_ascii_alphanumeric() || "-_./=!<>(), \t".contains(c),
            Self::KubernetesVersion => c.is_ascii_digit() || c == '.',
            Self::KubeletVersion | Self::EksRelease => {
                c.is_ascii_alphanumeric() || "-+.".contains(c)
            }
            Self::EventReason => c.is_ascii_alphanumeric(),
            Self::Arn | Self::Uid | Self::Url => !c.is_whitespace(),
            Self::AutoScalingGroupName | Self::ObjectPath => true,
        };
        let foreign = part.char_indices().find(|(_, c)| !is_allowed(*c));
        // The scheme of a URL, or two slashes within the path.
        let of_url = || {
            let slashes = (self == Self::Image).then(|| part.find("//"))??;
            let scheme = part.get(..slashes)?.strip_suffix(':');
            let Some(scheme) = scheme else { return Some((slashes + 1, '/')) };
            let start = scheme.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
            Some((start, part[start..].chars().next()?))
        };
        foreign.or_else(of_url)
    }
}

#[cfg(test)]
mod tests {
    use super::Syntax::*;
    use super::{FACTS, Syntax};

    #[test]
    fn each_syntax_has_its_facts_and_an_example_that_it_accepts() {
        for (index, facts) in FACTS.iter().enumerate() {
            let syntax = facts.syntax;
            assert_eq!(syntax as usize, index);
            assert_eq!(Syntax::from_name(facts.name), Some(syntax));
            assert!(syntax.matches(facts.example), "{}", facts.name);
            assert_eq!(syntax.foreign_character(facts.example), None, "{}", facts.name);
            assert!(facts.general.is_none_or(|general| general.matches(facts.example)));
        }
    }

    #[test]
    fn a_thing_is_not_accepted_where_another_is_wanted() {
        for (wanted, given, accepted) in [
            (NodeName, NodeName, true),
            (NodeName, InstanceId, false),
            (NodeName, PodName, false),
            (PodName, Namespace, false),
            (ClusterName, Arn, false),
            (ClusterName, NodegroupName, false),
            (AutoScalingGroupName, NodegroupName, false),
            // Formats that say nothing of the kind.
            (KubernetesName, NodeName, true),
            (NodeName, KubernetesName, true),
            (EksName, ClusterName, true),
            (LabelValue, NodeName, true),
            (KubernetesName, Arn, false),
        ] {
            assert_eq!(wanted.accepts(given), accepted, "{wanted:?} {given:?}");
        }
    }

    #[test]
    fn slashes_of_an_image_are_refused_at_its_scheme_or_where_they_are() {
        assert_eq!(Image.foreign_character("https://registry.example.com/a"), Some((0, 'h')));
        assert_eq!(Image.foreign_character("registry.example.com/a//b:"), Some((23, '/')));
        assert_eq!(Image.foreign_character("registry.example.com/a/b:"), None);
    }

    #[test]
    fn forms_admit_what_the_platform_admits() {
        let long = "a".repeat(64);
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
                AvailabilityZone,
                vec!["us-west-2a", "us-west-2-lax-1a", "ap-southeast-10b"],
                vec!["", "us-west-2", "a", "us-west-2A", "2a", "us-west-2-lax-1"],
            ),
            (KubernetesVersion, vec!["1.35"], vec!["", "v1.35", "1", "1.35.2", "latest"]),
            (
                KubeletVersion,
                vec!["1", "1.33", "v1.33", "1.33.2", "v1.33.2-eks-1a2b3c", "v1.33.2+k3s1"],
                vec!["", "v", "latest", ">=1.33", "1.33.x", "1.33.", "1.33-", "1.33.2.1", "1,33"],
            ),
            (
                EksRelease,
                vec!["1.35.2-20260901", "1.20.3-5d9ac849", "1.30-2024.06.11"],
                vec![
                    "",
                    "1.35",
                    "1.35.2",
                    "latest",
                    "v1.35.2-20260901",
                    "20260901",
                    "1.35.2-",
                    "1.35-20260901",
                    "1.35.2-2026.09.01",
                ],
            ),
            (EventReason, vec!["Maintenance"], vec!["", "two words", "maintenance"]),
            (Namespace, vec!["kube-system"], vec!["", "a.b", "Kube", &long]),
            (ClusterName, vec!["Relay_1"], vec!["", "-a", "a.b", "arn:aws:eks"]),
            (NodegroupName, vec!["relay-services-1a2b3c"], vec!["", &long]),
            (
                Arn,
                vec![
                    "arn:aws:eks:us-west-2:111122223333:cluster/relay",
                    "arn:aws-us-gov:iam::111122223333:role/r",
                    "arn:aws:s3:::bucket/key",
                ],
                vec!["", "arn:aws:eks", "arn:aws:eks:us-west-2:1111:cluster/relay", "eks:cluster"],
            ),
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
