//! Runs small runbooks against the control plane in this process, as a ServiceAccount that may do exactly what the
//! runbook's actions declare.

use std::sync::Arc;

use rafay_relay_sop::{
    actions::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
    clock::Clock,
    engine::{Control, Engine, Request},
    journal::{FileStore, Owner, Run, Store},
    runbook::Source,
};
use tempfile::TempDir;

use crate::{
    accounts::{Account, Grant},
    audit,
    fixture::ControlPlane,
    support::Ended,
};

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9/";

/// A runbook of these steps, each time-out and repetition short enough to be waited for.
pub(crate) fn book(steps: &str) -> String {
    format!(
        "name: test\ndefaults: {{timeout: 1m, retry: {{attempts: 1}}, on_failure: rollback}}\nsteps:\n{steps}"
    )
}

/// A step that fails, so that the others are undone.
pub(crate) const UNDO: &str =
    "  - {id: doubt, action: assert, with: {that: false, message: not today}}\n";

/// An engine with a journal of its own.
pub(crate) struct Interpreter {
    engine: Engine,
    store: Arc<dyn Store>,
    _folder: TempDir,
}

/// Who runs a runbook.
pub(crate) struct Desk {
    pub(crate) account: Account,
    interpreter: Interpreter,
}

impl Interpreter {
    /// One that has business with AWS alone, and asks nobody which cluster and account it acts on.
    pub(crate) fn of_aws(aws: &str) -> Self {
        let nobody = NOBODY.parse().expect("a URL");
        Self::new(KubernetesAccess::Endpoint { url: nobody }, aws, true)
    }

    fn new(kubernetes: KubernetesAccess, aws: &str, simulated: bool) -> Self {
        let platform = Platform::new(PlatformOptions {
            clock: Clock::real(),
            kubernetes,
            aws: AwsAccess::Endpoint { url: aws.parse().expect("a URL") },
            environment: [].into(),
        });
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner { pid: std::process::id(), doing: "test".into(), address: None };
        let store: Arc<dyn Store> =
            Arc::new(FileStore::for_writing(folder.path(), &owner).unwrap());
        let engine = Engine::new(platform, Arc::clone(&store), simulated);
        Self { engine, store, _folder: folder }
    }

    /// Runs a runbook to its end.
    pub(crate) async fn run(&self, text: &str) -> Ended {
        let source = Source::new("<test>", text);
        let inputs = [].into_iter().collect();
        let request = Request { source, inputs, actor: "test".into(), key: None };
        let recorder = self.engine.accept(request).await.unwrap_or_else(|why| panic!("{why}"));
        let id = recorder.run().id.clone();
        let state = self.engine.drive(recorder, Control::default()).await.unwrap();
        let records = self.store.read(&id).unwrap();
        Ended { state, run: Run::of(&id, &records).unwrap(), records }
    }
}

impl Desk {
    /// An account of its own in `namespace`, which may do what the runbook's actions declare, and no business with AWS.
    pub(crate) async fn new(plane: &ControlPlane, namespace: &str, text: &str) -> Self {
        let account = Account::new(plane, namespace, "desk", Grant::for_runbook(text)).await;
        Self::of(account, NOBODY)
    }

    /// The same for somebody, with AWS at an address.
    pub(crate) fn of(account: Account, aws: &str) -> Self {
        let kubeconfig = Some(account.kubeconfig.clone());
        let kubernetes = KubernetesAccess::Inferred { kubeconfig, context: None };
        Self { account, interpreter: Interpreter::new(kubernetes, aws, false) }
    }

    /// Runs a runbook to its end.
    pub(crate) async fn run(&self, text: &str) -> Ended {
        self.interpreter.run(text).await
    }
}

/// Runs a runbook with exactly its permissions, and checks that they sufficed.
pub(crate) async fn run(plane: &ControlPlane, namespace: &str, text: &str) -> Ended {
    let desk = Desk::new(plane, namespace, text).await;
    let ended = desk.run(text).await;
    assert_eq!(audit::denied(plane, &desk.account).await, [""; 0], "{}", ended.lines().join("\n"));
    ended
}
