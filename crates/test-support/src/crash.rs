//! A process that runs a runbook and dies at one append of its journal, for tests to start.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
};

use clock::Clock;
use futures::future::BoxFuture;
use rafay_relay_sop::{
    cluster_store::ClusterStore,
    engine::{Control, Engine},
    journal::{DirectoryStore, LockOwner, RunStore},
    lease::LeaseTimes,
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{InterruptingStore, Moment, Point};

/// The variable by which the child gets its plan, as JSON.
const CRASH_PLAN: &str = "SOP_TEST_CRASH_PLAN";

/// Where the child keeps its run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum CrashStore {
    /// A state directory.
    Directory(PathBuf),
    /// A namespace of the cluster.
    Namespace(String),
}

/// The run of the child, and the place where it dies.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CrashPlan {
    pub runbook: String,
    pub inputs: Map<String, Value>,
    pub store: CrashStore,
    pub point: Point,
    pub moment: Moment,
    pub speed: f64,
}

impl CrashPlan {
    /// Of a runbook without inputs and a state directory.
    pub fn new(runbook: &str, state_dir: &Path, point: Point, moment: Moment) -> Self {
        Self {
            runbook: runbook.to_owned(),
            inputs: Map::new(),
            store: CrashStore::Directory(state_dir.to_owned()),
            point,
            moment,
            speed: super::SPEED,
        }
    }

    /// Returns the command of the child: this very binary, which calls [`run_as_crash_child`].
    pub fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("a running test has a path"));
        command.env(CRASH_PLAN, serde_json::to_string(self).expect("a plan is JSON"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    async fn run(self) {
        let platform = Platform::new(PlatformOptions {
            clock: Clock::scaled(self.speed).expect("the plan has a valid speed"),
            kubernetes: KubernetesAccess::Inferred { kubeconfig: None, context: None },
            aws: AwsAccess::DefaultChain { profile: None },
            environment: [].into(),
        });
        let owner = LockOwner { pid: std::process::id(), doing: "crash".into(), address: None };
        let store: Arc<dyn RunStore> = match &self.store {
            CrashStore::Directory(dir) => {
                Arc::new(DirectoryStore::for_writing(dir, &owner).unwrap())
            }
            CrashStore::Namespace(namespace) => {
                let store = ClusterStore::for_writing(
                    &platform,
                    Some(namespace),
                    None,
                    LeaseTimes::default(),
                )
                .await;
                Arc::new(store.unwrap())
            }
        };
        let die = || -> BoxFuture<'static, ()> { std::process::abort() };
        let store = Arc::new(InterruptingStore::new(store, self.point, self.moment, die));
        let engine = Engine::new(platform, store, false);
        let checked = super::checked(&self.runbook).unwrap();
        let preflight = engine.prepare(checked, &self.inputs).await.unwrap();
        let accepted = engine.accept(preflight, "crash_child", None).await.unwrap();
        engine.drive(accepted, Control::default()).await.unwrap();
    }
}

/// Runs the child's plan, if this process was started as one; whether it was.
pub async fn run_as_crash_child() -> bool {
    let Ok(plan) = std::env::var(CRASH_PLAN) else { return false };
    let plan: CrashPlan = serde_json::from_str(&plan).expect("a test has written the plan");
    plan.run().await;
    true
}

/// Whether a child that has ended has died where it was to die.
///
/// # Panics
/// A test in it failed.
#[track_caller]
pub fn has_crashed(status: ExitStatus) -> bool {
    assert_ne!(
        status.code(),
        Some(101),
        "the crash child did not run to its end: a test in it failed"
    );
    !status.success()
}
