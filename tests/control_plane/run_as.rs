//! Runs small runbooks against the control plane in this process, as a `ServiceAccount` that may do exactly what the
//! runbook's actions declare.

use std::sync::Arc;

use clock::Clock;
use rafay_relay_sop::{
    engine::{CheckedRunbook, Control, Engine},
    journal::{DirectoryStore, LockOwner, RunStore},
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

    /// Runs a runbook to its end.
    pub(crate) async fn run(&self, text: &str) -> FinishedRun {
        let source = Source::new("<test>", text);
        let inputs = [].into_iter().collect();
        let checked = CheckedRunbook::new(source).unwrap_or_else(|why| panic!("{why}"));
        let preflight = self.engine.prepare(checked, &inputs).await;
        let preflight = preflight.unwrap_or_else(|why| panic!("{why}"));
        let accepted = self.engine.accept(preflight, "test", None).await.unwrap();
        let run = self.engine.drive(accepted, Control::default()).await.unwrap();
        FinishedRun::read(self.store.as_ref(), run).await
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
