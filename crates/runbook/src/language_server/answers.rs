//! The answers about a document: from what the language knows of a place to what the protocol says of it.

use std::{
    io::{self, Write},
    ops::Range,
    path::Path,
};

use serde_json::{Value as Json, json};

use super::{Server, documents::OpenLibrary, positions::Lines, transport};
use crate::{
    Diagnostic, Fix, Severity, Source, diagnose,
    editor::{self, CompletionKind, SymbolKind},
    fix,
};

/// The most suggestions that are tried together without being asked for.
const MAX_UNASKED: usize = 10;

/// The name of the program in lists of diagnostics.
const SOURCE: &str = "rafay-relay-sop";

impl Server<'_> {
    fn lines<'t>(&self, source: &'t Source) -> Lines<'t> {
        Lines::new(source.text(), self.client.encoding)
    }

    fn library<'l>(&'l self, source: &Source) -> OpenLibrary<'l> {
        OpenLibrary::of(&self.documents, source, self.others)
    }

    fn diagnose(&self, source: &Source) -> Vec<Diagnostic> {
        match is_runbook(source) {
            true => diagnose(source, self.registry, &self.library(source)),
            false => Vec::new(),
        }
    }

    /// Sends the diagnostics of a document; of one that is closed, none.
    pub(super) fn publish(&self, uri: &str, output: &mut dyn Write) -> io::Result<()> {
        let checked = std::panic::AssertUnwindSafe(|| match self.documents.get(uri) {
            Some(document) => self.diagnostics(&document.source, uri),
            None => Vec::new(),
        });
        // The diagnostics that were sent before stay, if a bug in a check keeps it from ending.
        let Ok(diagnostics) = std::panic::catch_unwind(checked) else { return Ok(()) };
        let mut params = json!({ "uri": uri, "diagnostics": diagnostics });
        if let Some(version) = self.documents.get(uri).and_then(|document| document.version) {
            params["version"] = json!(version);
        }
        let method = "textDocument/publishDiagnostics";
        transport::write(output, &json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    fn diagnostics(&self, source: &Source, uri: &str) -> Vec<Json> {
        let lines = self.lines(source);
        self.diagnose(source).iter().map(|one| self.diagnostic(one, &lines, uri)).collect()
    }

    fn diagnostic(&self, diagnostic: &Diagnostic, lines: &Lines<'_>, uri: &str) -> Json {
        let mut message = diagnostic.message.clone();
        let mut related = Vec::new();
        for label in &diagnostic.labels {
            let location = match &label.file {
                Some(file) => self.documents.uri_of(file.name()).map(|uri| {
                    let lines = self.lines(file);
                    json!({ "uri": uri, "range": lines.range(&label.span) })
                }),
                None => Some(json!({ "uri": uri, "range": lines.range(&label.span) })),
            };
            match location.filter(|_| self.client.has_related_information) {
                Some(location) => {
                    related.push(json!({ "location": location, "message": label.text }));
                }
                None => message.push_str(&format!("\n{}", label.text)),
            }
        }
        if let Some(help) = &diagnostic.help {
            message.push_str(&format!("\n{help}"));
        }
        let mut shown = json!({
            "range": lines.range(&diagnostic.span),
            "severity": match diagnostic.severity {
                Severity::Error => 1,
                Severity::Warning => 2,
                Severity::Note => 3,
            },
            "code": diagnostic.code,
            "source": SOURCE,
            "message": message,
        });
        if !related.is_empty() {
            shown["relatedInformation"] = json!(related);
        }
        shown
    }

    pub(super) fn completion(&self, _: &str, source: &Source, params: &Json) -> Option<Json> {
        let lines = self.lines(source);
        let offset = lines.offset(&params["position"])?;
        let offered = editor::complete(source, offset, self.registry, &self.library(source));
        let item = |(at, one): (usize, &editor::Completion)| {
            let mut item = json!({
                "label": one.label,
                "kind": completion_kind(one.kind),
                // The order is that of the answer.
                "sortText": format!("{at:04}"),
                "textEdit": { "range": lines.range(&one.replace), "newText": one.insert },
            });
            if let Some(detail) = &one.detail {
                item["detail"] = json!(detail);
            }
            if let Some(documentation) = &one.documentation {
                item["documentation"] = json!({ "kind": "markdown", "value": documentation });
            }
            item
        };
        let items: Vec<Json> = offered.iter().enumerate().map(item).collect();
        Some(json!({ "isIncomplete": false, "items": items }))
    }

    pub(super) fn hover(&self, _: &str, source: &Source, params: &Json) -> Option<Json> {
        let lines = self.lines(source);
        let offset = lines.offset(&params["position"])?;
        let found = editor::hover(source, offset, self.registry, &self.library(source));
        Some(found.map_or(Json::Null, |hover| {
            json!({
                "contents": { "kind": "markdown", "value": hover.text },
                "range": lines.range(&hover.span),
            })
        }))
    }

    pub(super) fn definition(&self, uri: &str, source: &Source, params: &Json) -> Option<Json> {
        let lines = self.lines(source);
        let offset = lines.offset(&params["position"])?;
        let found = editor::define(source, offset, self.registry, &self.library(source));
        let location = found.and_then(|found| match found.file {
            None => Some(json!({ "uri": uri, "range": lines.range(&found.span) })),
            Some(file) => {
                let uri = self.documents.uri_of(file.name())?;
                Some(json!({ "uri": uri, "range": self.lines(&file).range(&found.span) }))
            }
        });
        Some(location.unwrap_or(Json::Null))
    }

    pub(super) fn document_symbols(&self, uri: &str, source: &Source) -> Json {
        let lines = self.lines(source);
        let symbol = |one: editor::Symbol| {
            let kind = match one.kind {
                SymbolKind::Input => 13, // a variable
                SymbolKind::Step => 12,  // a function
                SymbolKind::Output => 7, // a property
            };
            match self.client.has_document_symbols {
                true => json!({
                    "name": one.name,
                    "detail": one.detail,
                    "kind": kind,
                    "range": lines.range(&one.span),
                    "selectionRange": lines.range(&one.name_span),
                }),
                false => json!({
                    "name": one.name,
                    "kind": kind,
                    "location": { "uri": uri, "range": lines.range(&one.span) },
                }),
            }
        };
        editor::symbols(source).into_iter().map(symbol).collect()
    }

    pub(super) fn code_actions(&self, uri: &str, source: &Source, params: &Json) -> Option<Json> {
        let lines = self.lines(source);
        let range = lines.span(&params["range"])?;
        let only = params["context"]["only"].as_array();
        let is_wanted = |kind: &str| {
            only.is_none_or(|only| {
                let wanted = only.iter().filter_map(Json::as_str);
                wanted.into_iter().any(|wanted| is_kind_of(kind, wanted))
            })
        };
        let mut actions = Vec::new();
        let found = self.diagnose(source);
        let fixes = found.iter().filter_map(|one| Some((one, Fix::of(source, one)?)));
        let fixes: Vec<(&Diagnostic, Fix)> = fixes.collect();
        if is_wanted("quickfix") {
            let here = fixes.iter().filter(|(one, _)| touches(&one.span, &range));
            actions.extend(here.map(|(diagnostic, fix)| {
                let edit = json!({ "range": lines.range(&fix.span), "newText": fix.replacement });
                json!({
                    "title": title(source, fix),
                    "kind": "quickfix",
                    "isPreferred": true,
                    "diagnostics": [self.diagnostic(diagnostic, &lines, uri)],
                    "edit": { "changes": { uri: [edit] } },
                })
            }));
        }
        // One of them has an action of its own, and many take too long for what is asked at each move of the cursor.
        let is_offered = match only {
            Some(_) => !fixes.is_empty(),
            None => (2..=MAX_UNASKED).contains(&fixes.len()),
        };
        if is_wanted("source.fixAll") && is_offered {
            let result = fix(source, self.registry, &self.library(source));
            if !result.fixes.is_empty() {
                let whole = lines.range(&(0..source.text().len()));
                let edit = json!({ "range": whole, "newText": result.source.text() });
                actions.push(json!({
                    "title": "Write everything that diagnostics suggest and that is safe",
                    "kind": "source.fixAll",
                    "edit": { "changes": { uri: [edit] } },
                }));
            }
        }
        Some(json!(actions))
    }
}

/// Whether a kind of code actions is one that is asked for, or is below it.
fn is_kind_of(kind: &str, wanted: &str) -> bool {
    let below = kind.strip_prefix(wanted);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn touches(span: &Range<usize>, range: &Range<usize>) -> bool {
    span.start <= range.end && range.start <= span.end
}

fn title(source: &Source, fix: &Fix) -> String {
    let old = source.text().get(fix.span.clone()).unwrap_or_default();
    match old.is_empty() {
        true => format!("Write '{}'", fix.replacement),
        false => format!("Replace '{old}' with '{}'", fix.replacement),
    }
}

fn completion_kind(kind: CompletionKind) -> u8 {
    match kind {
        CompletionKind::Key => 10,      // a property
        CompletionKind::Action => 3,    // a function
        CompletionKind::Runbook => 17,  // a file
        CompletionKind::Value => 12,    // a value
        CompletionKind::Template => 15, // a snippet
        CompletionKind::Name => 6,      // a variable
        CompletionKind::Field => 5,     // a field
        CompletionKind::Filter => 2,    // a method
        CompletionKind::Operator => 14, // a keyword
    }
}

/// Whether a text is to be a runbook, by its directory or by what it has: an editor may send every YAML file.
fn is_runbook(source: &Source) -> bool {
    let dir = Path::new(source.name()).parent().and_then(Path::file_name);
    let text = source.text();
    dir.is_some_and(|dir| dir == "runbooks")
        || text.lines().any(|line| line.starts_with("steps:"))
        || text.contains("runbook.schema.json")
}
