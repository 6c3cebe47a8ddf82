//! The report on the files that were checked, in each format. Pure: from diagnostics to text.

use serde_json::{Value, json};
use text::plural;

use super::{Format, files::CheckedFile};
use crate::{Diagnostic, Severity, Source, render};

/// The diagnostics of all files.
pub(super) struct Report<'c> {
    checked: &'c [CheckedFile],
}

impl<'c> Report<'c> {
    pub(super) fn new(checked: &'c [CheckedFile]) -> Self {
        Self { checked }
    }

    /// Returns the number of diagnostics with this severity.
    pub(super) fn count(&self, severity: Severity) -> usize {
        let all = self.checked.iter().flat_map(|checked| &checked.diagnostics);
        all.filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// Returns all diagnostics in a format.
    pub(super) fn text(&self, format: Format, color: bool) -> String {
        match format {
            Format::Human => {
                self.each(|source, diagnostics| render::human(source, diagnostics, color))
            }
            Format::Short => self.each(render::short),
            Format::Github => self.each(render::github),
            Format::Json => format!("{:#}\n", self.json()),
            Format::Sarif => {
                let files = self.checked.iter().map(|c| (&c.source, c.diagnostics.as_slice()));
                let files: Vec<(&Source, &[Diagnostic])> = files.collect();
                format!("{:#}\n", render::sarif(&files, env!("CARGO_PKG_VERSION")))
            }
        }
    }

    fn each(&self, render: impl Fn(&Source, &[Diagnostic]) -> String) -> String {
        self.checked.iter().map(|checked| render(&checked.source, &checked.diagnostics)).collect()
    }

    fn json(&self) -> Value {
        let each = |c: &CheckedFile| match render::json(&c.source, &c.diagnostics) {
            Value::Array(diagnostics) => diagnostics,
            other => vec![other],
        };
        json!({
            "checked": self.checked.len(),
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "notes": self.count(Severity::Note),
            "diagnostics": self.checked.iter().flat_map(each).collect::<Vec<_>>(),
        })
    }

    /// Returns a line such as "3 runbooks checked: 1 error, 0 warnings, 2 notes".
    pub(super) fn summary(&self) -> String {
        format!(
            "{} checked: {}, {}, {}",
            plural(self.checked.len(), "runbook"),
            plural(self.count(Severity::Error), "error"),
            plural(self.count(Severity::Warning), "warning"),
            plural(self.count(Severity::Note), "note"),
        )
    }
}
