//! An image release of another Kubernetes version than the one beside it.

use super::super::document::start_span;
use super::super::template::is_template;
use super::super::types::Syntax;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB132",
    name: "other_release",
    severity: Severity::Error,
    summary: "an image release of another Kubernetes version than the one beside it",
    explanation: "\
A release of an image of Amazon Linux or Windows begins with the Kubernetes version that it is for: 1.35.2-20260901 is
for 1.35. EKS refuses an update to a release of another version. Bottlerocket has versions of its own.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for raw in &analysis.document.steps {
        let Some(with) = raw.with else { continue };
        let literal = |name: &str, syntax: Syntax| {
            let node = with.member(name)?;
            let text = node.text().filter(|text| !is_template(text) && syntax.matches(text))?;
            Some((node, text))
        };
        let version = literal("version", Syntax::KubernetesVersion);
        let release = literal("release_version", Syntax::EksRelease);
        let Some(((version_node, version), (node, release))) = version.zip(release) else {
            continue;
        };
        let Some(own) = release_version(release) else { continue };
        if own == version {
            continue;
        }
        let message =
            format!("the release {release} is one of {own}, and the version is {version}");
        let diagnostic = Diagnostic::new(&RULE, start_span(node), message)
            .label(start_span(version_node), "the version")
            .help(format!("write a release of {version}, or leave 'release_version' out"));
        diagnostics.push(diagnostic);
    }
}

/// Returns the Kubernetes version of a release. One of Bottlerocket, which has a version of its own and a commit, has
/// none.
fn release_version(release: &str) -> Option<&str> {
    let (version, build) = release.split_once('-')?;
    let is_date = build.len() >= 8 && build.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let mut dots = version.match_indices('.').map(|(at, _)| at);
    let end = dots.nth(1).unwrap_or(version.len());
    version.get(..end).filter(|_| is_date)
}

#[cfg(test)]
mod tests {
    use super::release_version;

    #[test]
    fn a_release_begins_with_its_version() {
        for release in ["1.35.2-20260901", "1.35-2026.09.01"] {
            assert_eq!(release_version(release), Some("1.35"));
        }
        assert_eq!(release_version("1.20.3-5d9ac849"), None);
    }
}
