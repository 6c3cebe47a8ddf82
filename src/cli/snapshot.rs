//! `snapshot`: the world of a live cluster, as a scenario of the simulator.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::ValueHint;

use super::{
    CliError, Exit, Global,
    inputs::known_inputs,
    private_file::{self, Existing},
    stdout,
    target::PlatformArgs,
};
use crate::{
    engine::{CheckedRunbook, StartError},
    journal::{Failure, FailureKind},
    permissions::{self, Requirement, RunbookContext},
    platform::Progress,
    snapshot::{self, Anonymized, ClusterScope, Gap, Snapshot, SnapshotError, Wanted},
};
use clock::Clock;
use runbook::EvaluationScope;
use text::plural;

/// Writes the world of a live cluster as a scenario of the simulator, for `run --simulate --scenario FILE`.
///
/// The cluster and the account are only read, in pages. Secrets are never read, and of containers neither environment
/// nor commands are kept. What could not be read is said, with what cannot be predicted without it.
#[derive(Debug, clap::Args)]
pub(super) struct SnapshotArgs {
    /// File to write [default: standard output]
    #[arg(short = 'o', long = "out", value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    /// Replace the names of the cluster, of its objects and of the account
    #[arg(long)]
    anonymize: bool,
    /// File to write what became of each name to
    #[arg(long, value_name = "FILE", requires = "anonymize", value_hint = ValueHint::FilePath)]
    mapping: Option<PathBuf>,
    /// A runbook whose ConfigMaps are read too: a name or a path; may be given several times
    #[arg(long = "runbook", value_name = "NAME")]
    names: Vec<String>,
    /// An input of the runbooks; may be given several times
    #[arg(long = "input", value_name = "NAME=VALUE", requires = "names")]
    inputs: Vec<String>,
    /// The EKS cluster [default: as the kubeconfig's context or the nodes name it]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The region of the EKS cluster [default: as the kubeconfig or the nodes name it]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    #[command(flatten)]
    platform: PlatformArgs,
}

impl SnapshotArgs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, CliError> {
        for path in self.out.iter().chain(&self.mapping) {
            self.ensure_can_be_written(path)?;
        }
        let wanted = self.wanted(global)?;
        let platform = self.platform.connect(Clock::real())?;
        let scope = ClusterScope { region: self.region.clone(), cluster: self.cluster.clone() };
        let started = Instant::now();
        let (reader, progress) = (platform.reader(), Progress::silent());
        let found = snapshot::take(&reader, &scope, &wanted, &progress).await.map_err(error)?;
        let took = started.elapsed();
        let head = head(&found, self.anonymize);
        let mut scenario = found.to_scenario();
        if self.anonymize {
            let anonymized = snapshot::anonymize(&scenario).map_err(internal)?;
            self.write_mapping(&anonymized)?;
            scenario = anonymized.scenario;
        }
        let text = head + &scenario.to_yaml().map_err(internal)?;
        self.write(self.out.as_deref(), &text)?;
        let summary = summary(&found);
        stdout::write_stderr(&format!("{summary} in {:.1} s\n", took.as_secs_f64()));
        for Gap { what, why, unpredicted } in &found.gaps {
            let line = format!("not known: {what}: {why}; not predicted: {unpredicted}");
            stdout::write_stderr_line(&printable(&line));
        }
        Ok(Exit::Success)
    }

    /// Returns what the runbooks need besides: the ConfigMaps that their steps read, where the names are known.
    fn wanted(&self, global: &Global) -> Result<Wanted, CliError> {
        let runbooks: Vec<CheckedRunbook> =
            self.names.iter().map(|name| global.checked_runbook(name)).collect::<Result<_, _>>()?;
        let inputs = known_inputs(&self.inputs, &runbooks)?;
        let context = RunbookContext {
            region: self.region.clone(),
            cluster: self.cluster.clone(),
            account: None,
        };
        let requirements = runbooks.iter().zip(&inputs).flat_map(|(checked, inputs)| {
            permissions::of_runbook(checked.runbook(), &EvaluationScope::new(inputs), &context)
        });
        let requirements: Vec<Requirement> = requirements.collect();
        let mut config_maps = permissions::config_maps(&requirements);
        config_maps.sort();
        config_maps.dedup();
        Ok(Wanted { config_maps })
    }

    fn ensure_can_be_written(&self, path: &Path) -> Result<(), CliError> {
        if self.force || !path.exists() {
            return Ok(());
        }
        let message = format!("{} exists", path.display());
        Err(CliError::usage_with_hint(message, "name another file, or pass --force"))
    }

    fn write_mapping(&self, anonymized: &Anonymized) -> Result<(), CliError> {
        let Some(path) = &self.mapping else { return Ok(()) };
        let text = serde_saphyr::to_string(&anonymized.mapping).map_err(internal)?;
        self.write(Some(path), &text)
    }

    /// Writes a text to a file, or to standard output.
    fn write(&self, path: Option<&Path>, text: &str) -> Result<(), CliError> {
        let Some(path) = path else { return Ok(stdout::write(text)?) };
        let existing = if self.force { Existing::Replaced } else { Existing::Kept };
        Ok(private_file::write(path, text, existing)?)
    }
}

/// Returns the comment at the beginning of the file.
fn head(found: &Snapshot, anonymize: bool) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text =
        format!("# A scenario of the simulator, written by rafay-relay-sop {version}.\n");
    let gaps = plural(found.gaps.len(), "gap");
    if anonymize {
        let _ = writeln!(text, "# The names are not those of the cluster; {gaps}.");
        return text;
    }
    let _ = writeln!(text, "# {} at {:.0}; {gaps}.", printable(&summary(found)), found.taken_at);
    for gap in &found.gaps {
        let _ = writeln!(text, "# not known: {}", printable(&gap.what));
    }
    text
}

/// Returns what was read, on one line.
fn summary(found: &Snapshot) -> String {
    let name = match (&found.cluster, &found.region) {
        (Some(cluster), Some(region)) => format!("EKS cluster {cluster} in {region}"),
        _ => "the cluster".to_owned(),
    };
    format!(
        "{name}: {}, {}, {}, {}",
        plural(found.nodegroups.len(), "nodegroup"),
        plural(found.objects_of("Node").len(), "node"),
        plural(found.objects_of("Pod").len(), "pod"),
        plural(found.reads.total() as usize, "read")
    )
}

fn printable(text: &str) -> String {
    text::printable(text).into_owned()
}

fn error(error: SnapshotError) -> CliError {
    match error {
        SnapshotError::Platform(error) => StartError::from(error).into(),
        SnapshotError::OtherCluster { .. } => {
            let hint = error.hint().map(str::to_owned);
            CliError::Failure(
                Failure::new(FailureKind::Precondition, error.to_string()).with_hint(hint),
            )
        }
    }
}

fn internal(error: impl std::fmt::Display) -> CliError {
    CliError::Failure(Failure::new(FailureKind::Internal, error.to_string()))
}
