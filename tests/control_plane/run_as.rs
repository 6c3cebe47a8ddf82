//! Runs small runbooks against the control plane in this process, as a `ServiceAccount` that may do exactly what the
//! runbook's actions declare.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use clock::Clock;
use rafay_relay_sop::{
    engine::{AcceptedRun, CheckedRunbook, Control, Engine, StartError},
    journal::{DirectoryStore, LockOwner, Run, RunStore},
    permissions::PermissionReport,
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use runbook::Source;
use tempfile::TempDir;

use crate::{
    accounts::{Grant, TestServiceAccount},
    audit,
    fixture::ControlPlane,
};
use test_support::FinishedRun;

/// An address at which no process listens.
const UNREACHABLE_URL: &str = "http://127.0.0.1:9/";

/// A runbook of these steps, each time-out and repetition short enough to be waited for.
pub(crate) fn runbook_yaml(steps: &str) -> String {
    format!(
        "name: test\ndefaults: {{timeout: 1m, retry: {{attempts: 1}}, on_failure: rollback}}\nsteps:\n{steps}"
    )
}

/// A step that fails, so that the others are undone.
pub(crate) const FAILING_STEP: &str =
    "  - {id: doubt, action: assert, with: {that: false, message: not today}}\n";

/// An engine with a journal of its own.
pub(crate) struct EngineRunner {
    engine: Engine,
    store: Arc<dyn RunStore>,
    _dir: TempDir,
}

/// An engine that runs runbooks as an account.
pub(crate) struct RunAs {
    pub(crate) account: TestServiceAccount,
    runner: EngineRunner,
}

impl EngineRunner {
    /// Returns a runner that uses only AWS, and does not identify its cluster and account.
    pub(crate) fn of_aws(aws: &str) -> Self {
        let unreachable = UNREACHABLE_URL.parse().expect("a URL");
        Self::new(KubernetesAccess::Endpoint { url: unreachable }, aws, true)
    }

    fn new(kubernetes: KubernetesAccess, aws: &str, simulated: bool) -> Self {
        let platform = Platform::new(PlatformOptions {
            clock: Clock::real(),
            kubernetes,
            aws: AwsAccess::Endpoint { url: aws.parse().expect("a URL") },
            environment: [].into(),
        });
        let dir = tempfile::tempdir().unwrap();
        let owner = LockOwner { pid: std::process::id(), doing: "test".into(), address: None };
        let store: Arc<dyn RunStore> =
            Arc::new(DirectoryStore::for_writing(dir.path(), &owner).unwrap());
        let engine = Engine::new(platform, Arc::clone(&store), simulated);
        Self { engine, store, _dir: dir }
    }

    /// Starts a run of a runbook, which is not driven yet.
    async fn accept(&self, text: &str) -> Result<AcceptedRun, StartError> {
        let source = Source::new("<test>", text);
        let inputs = [].into_iter().collect();
        let checked = CheckedRunbook::new(source).unwrap_or_else(|why| panic!("{why}"));
        let preflight = self.engine.prepare(checked, &inputs).await;
        let preflight = preflight.unwrap_or_else(|why| panic!("{why}"));
        self.engine.accept(preflight, "test", None).await
    }

    /// Runs a runbook to its end.
    pub(crate) async fn run(&self, text: &str) -> FinishedRun {
        let accepted = self.accept(text).await.unwrap();
        let run = self.engine.drive(accepted, Control::default()).await.unwrap();
        FinishedRun::read(self.store.as_ref(), run).await
    }
}

impl EngineRunner {
    /// Starts a run, counts it as running while it is driven, and returns how many were running then. Without a start,
    /// nothing.
    pub(crate) async fn compete(&self, text: &str, running: &AtomicUsize) -> Option<usize> {
        let accepted = self.accept(text).await.ok()?;
        let seen = running.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        let most = seen.max(running.load(Ordering::SeqCst));
        running.fetch_sub(1, Ordering::SeqCst);
        self.engine.drive(accepted, Control::default()).await.unwrap();
        Some(most)
    }
}

impl RunAs {
    /// Makes an account in `namespace` with the permissions that the runbook's actions declare; AWS is not reachable.
    pub(crate) async fn new(plane: &ControlPlane, namespace: &str, text: &str) -> Self {
        let account =
            TestServiceAccount::new(plane, namespace, "run-as", Grant::for_runbook(text)).await;
        Self::of(account, UNREACHABLE_URL)
    }

    /// Returns a runner for an existing account, with AWS at an address.
    pub(crate) fn of(account: TestServiceAccount, aws: &str) -> Self {
        let kubeconfig = Some(account.kubeconfig.clone());
        let kubernetes = KubernetesAccess::Inferred { kubeconfig, context: None };
        Self { account, runner: EngineRunner::new(kubernetes, aws, false) }
    }

    /// Runs a runbook to its end.
    pub(crate) async fn run(&self, text: &str) -> FinishedRun {
        self.runner.run(text).await
    }

    /// Checks whether the account may do what a runbook needs.
    pub(crate) async fn check_permissions(&self, text: &str) -> PermissionReport {
        let checked = CheckedRunbook::new(Source::new("<test>", text));
        let checked = checked.unwrap_or_else(|why| panic!("{why}"));
        let preflight = self.runner.engine.prepare(checked, &[].into_iter().collect()).await;
        let preflight = preflight.unwrap_or_else(|why| panic!("{why}"));
        self.runner.engine.check_permissions(&preflight).await
    }

    /// Runs a runbook to its end, unless it may not start.
    pub(crate) async fn try_run(&self, text: &str) -> Result<Run, StartError> {
        let accepted = self.runner.accept(text).await?;
        Ok(self.runner.engine.drive(accepted, Control::default()).await.unwrap())
    }

    /// Returns the same account in another process with a store of its own.
    pub(crate) fn other_process(&self) -> EngineRunner {
        let kubeconfig = Some(self.account.kubeconfig.clone());
        let kubernetes = KubernetesAccess::Inferred { kubeconfig, context: None };
        EngineRunner::new(kubernetes, UNREACHABLE_URL, false)
    }
}

/// Runs a runbook with exactly its permissions, and checks that they sufficed.
pub(crate) async fn run(plane: &ControlPlane, namespace: &str, text: &str) -> FinishedRun {
    let run_as = RunAs::new(plane, namespace, text).await;
    let ended = run_as.run(text).await;
    assert_eq!(
        audit::denied_calls(plane, &run_as.account).await,
        [""; 0],
        "{}",
        ended.lines().join("\n")
    );
    ended
}
