//! The literal parts of a text with templates: what can be said of the text before the templates have a value.

use std::ops::Range;

use super::super::template::{self, Template};
use super::super::types::{Syntax, Type};
use super::super::yaml::SourceMap;
use super::{Analysis, TemplateSite};
use crate::duration::Duration;

/// Why a text with templates has not the format of its parameter, whatever the values of its templates are.
#[derive(Debug)]
pub(crate) struct ImpossibleText {
    /// The span in the file: the part that is wrong, or the text.
    pub(crate) span: Range<usize>,
    /// The character that no such string has, if it is one.
    pub(crate) character: Option<char>,
    /// The format: "a namespace: at most 63 …".
    pub(crate) form: String,
    /// The remedy, where it is more than the format.
    pub(crate) why: Option<&'static str>,
}

/// The description of a duration.
const DURATION: &str = "a duration, such as 250ms, 5s, 10m or 1h30m";

impl<'t> Analysis<'t> {
    /// Returns why the text of a site cannot have the format that its parameter wants.
    pub(crate) fn impossible_text(&self, site: &TemplateSite<'t>) -> Option<ImpossibleText> {
        if !site.is_text || !site.inferred.issues.is_empty() {
            return None;
        }
        let template = template::parse(site.node.text()?).ok()?;
        let map = SourceMap::new(self.source.text(), site.node);
        match site.wanted.non_null() {
            Type::Duration => {
                if let Some(span) = unit_after_duration(site, &template) {
                    return Some(ImpossibleText {
                        span: map.range(span),
                        character: None,
                        form: DURATION.to_owned(),
                        why: Some("the value before this has its unit: remove what is after it"),
                    });
                }
                let is_duration = template.filled("1").parse::<Duration>().is_ok();
                let of_numbers = site.inferred.parts.iter().all(Type::is_numeric);
                (of_numbers && !is_duration).then(|| ImpossibleText {
                    span: site.node.span.clone(),
                    character: None,
                    form: DURATION.to_owned(),
                    why: Some("write one number with its unit, such as {{ inputs.MINUTES }}m"),
                })
            }
            Type::String(text) => impossible(text.syntax?, &template, &map, site),
            _ => None,
        }
    }
}

/// Returns the unit that is written after the template of a duration.
fn unit_after_duration(site: &TemplateSite<'_>, template: &Template<'_>) -> Option<Range<usize>> {
    let is_duration = |ty: &Type| *ty.non_null() == Type::Duration;
    if site.inferred.parts.is_empty() || !site.inferred.parts.iter().all(is_duration) {
        return None;
    }
    template.literal_parts().filter(|part| part.start > 0).find(|part| {
        let text = template.text().get(Range::clone(part)).unwrap_or_default();
        text.trim_start().starts_with(|c: char| c.is_ascii_alphabetic())
    })
}

fn impossible(
    syntax: Syntax,
    template: &Template<'_>,
    map: &SourceMap,
    site: &TemplateSite<'_>,
) -> Option<ImpossibleText> {
    for part in template.literal_parts() {
        let text = template.text().get(part.clone()).unwrap_or_default();
        let Some((at, character)) = syntax.foreign_character(text) else { continue };
        let start = part.start + at;
        let why = syntax.refusal(text);
        return Some(ImpossibleText {
            span: map.range(start..start + character.len_utf8()),
            character: Some(character).filter(|_| why.is_none()),
            form: syntax.sentence(),
            why,
        });
    }
    if syntax == Syntax::Image && template.filled("a").contains("::") {
        return Some(ImpossibleText {
            span: site.node.span.clone(),
            character: None,
            form: syntax.sentence(),
            why: Some("write one ':' before the tag"),
        });
    }
    // A zone is its region and a letter.
    let is_region = |ty: &Type| ty.kind() == Some(Syntax::AwsRegion);
    if syntax == Syntax::AvailabilityZone && site.inferred.parts.iter().all(is_region) {
        return (!syntax.matches(&template.filled("us-east-1"))).then(|| ImpossibleText {
            span: site.node.span.clone(),
            character: None,
            form: syntax.sentence(),
            why: Some("write the letter of the zone right after the region, as in us-east-1a"),
        });
    }
    let mut parts = template.literal_parts();
    let start = parts.next().filter(|part| part.start == 0).and_then(|p| template.text().get(p));
    // The value before or after it may be a digest.
    if syntax == Syntax::Image && template.text().contains('@') {
        return None;
    }
    let filled = template.filled(syntax.filler_after(start.unwrap_or_default())?);
    (!syntax.matches(&filled)).then(|| ImpossibleText {
        span: site.node.span.clone(),
        character: None,
        form: syntax.sentence(),
        why: syntax.refusal(&filled),
    })
}
