//! `validate`: checks runbooks without running them.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{Exit, Global, Output, Trouble};
use crate::{
    actions,
    runbook::{self, Finding, Severity, Source, render},
    shelf,
};

/// Checks runbooks and reports everything that is wrong with them, each with its line and column.
#[derive(Debug, clap::Args)]
pub(super) struct Validate {
    /// Files, folders of .yaml and .yml files, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How findings are written [default: human, or json with --output json]
    #[arg(long, value_name = "FORM")]
    format: Option<Format>,
    /// Count warnings as errors
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With the place shown in the text
    Human,
    /// One line each: file:line:column: severity: message
    Short,
    /// One JSON document
    Json,
}

/// A file with what was found in it.
struct Checked {
    source: Source,
    findings: Vec<Finding>,
}

impl Validate {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Trouble> {
        let default = match global.output {
            Output::Text => Format::Human,
            Output::Json => Format::Json,
        };
        let mut checked = Vec::new();
        for source in sources(&self.paths)? {
            let findings = runbook::check(&source, actions::catalogue()).findings;
            checked.push(Checked { source, findings });
        }
        show(&checked, self.format.unwrap_or(default));
        let is_bad = |finding: &Finding| match finding.severity {
            Severity::Error => true,
            Severity::Warning => self.deny_warnings,
            Severity::Note => false,
        };
        let bad = checked.iter().flat_map(|c| &c.findings).any(is_bad);
        Ok(if bad { Exit::Failed } else { Exit::Done })
    }
}

fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, Trouble> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            sources.push(standard_input()?);
        } else if path.is_dir() {
            let mut files = Vec::new();
            collect(path, &mut files)?;
            files.sort();
            for file in files {
                sources.push(shelf::read(&file)?);
            }
        } else {
            sources.push(shelf::read(path)?);
        }
    }
    if sources.is_empty() {
        return Err(Trouble::Usage("there is no .yaml or .yml file in those folders".into()));
    }
    Ok(sources)
}

fn standard_input() -> Result<Source, Trouble> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Trouble::Usage(format!("cannot read standard input: {error}")))?;
    Ok(Source::new("<stdin>", text))
}

/// Links to folders are not followed: they can lead in circles.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Trouble> {
    let unreadable =
        |error| Trouble::Usage(format!("cannot read the folder {}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        if entry.file_type().map_err(unreadable)?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
            files.push(path);
        }
    }
    Ok(())
}

fn show(checked: &[Checked], format: Format) {
    match format {
        Format::Human => {
            let color =
                anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
            for Checked { source, findings } in checked {
                anstream::print!("{}", render::human(source, findings, color));
            }
            eprintln!("{}", summary(checked));
        }
        Format::Short => {
            for Checked { source, findings } in checked {
                print!("{}", render::short(source, findings));
            }
        }
        Format::Json => {
            let files: Vec<Value> =
                checked.iter().map(|c| render::json(&c.source, &c.findings)).collect();
            println!("{:#}", json!(files));
        }
    }
}

fn summary(checked: &[Checked]) -> String {
    let count = |severity: Severity| {
        checked.iter().flat_map(|c| &c.findings).filter(|f| f.severity == severity).count()
    };
    let plural = |number: usize, noun: &str| {
        format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
    };
    format!(
        "{} checked: {}, {}",
        plural(checked.len(), "runbook"),
        plural(count(Severity::Error), "error"),
        plural(count(Severity::Warning), "warning")
    )
}
