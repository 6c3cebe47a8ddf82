//! Runs the tests: those that need a control plane are ignored, visibly, where there is none; the others get the one
//! that is started for the first of them.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    process::ExitCode,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;

use crate::{assets::Assets, fixture::ControlPlane};

/// Longer than any of these tests takes on a machine that does much else besides.
const LONGEST: Duration = Duration::from_secs(300);

/// How often it is asked whether the control plane still lives.
const PULSE: Duration = Duration::from_millis(500);

type Body = Box<dyn FnOnce(Arc<ControlPlane>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A test on a control plane.
pub(crate) struct Test {
    name: &'static str,
    body: Body,
}

/// A test on a control plane.
pub(crate) fn test<F, Fut>(name: &'static str, body: F) -> Test
where
    F: FnOnce(Arc<ControlPlane>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    Test { name, body: Box::new(move |plane| Box::pin(body(plane))) }
}

/// Runs `free` tests, and those on a control plane, and says how it went.
pub(crate) fn run(free: Vec<Trial>, tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share a cluster and look at all of it.
    arguments.test_threads = Some(1);
    let stage = Arc::new(Stage::new());
    if let Err(why) = &stage.assets
        && !arguments.list
    {
        eprintln!("control-plane tests are IGNORED: {why}");
    }
    let trials = tests.into_iter().map(|test| stage.trial(test)).chain(free).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    stage.clear(conclusion.has_failed());
    conclusion.exit_code()
}

/// Where the tests take place.
struct Stage {
    runtime: Runtime,
    assets: Result<Assets, String>,
    plane: OnceLock<Result<Mutex<Option<Arc<ControlPlane>>>, String>>,
}

impl Stage {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a process can have threads");
        Self { runtime, assets: Assets::find(), plane: OnceLock::new() }
    }

    fn trial(self: &Arc<Self>, test: Test) -> Trial {
        let stage = Arc::clone(self);
        Trial::ignorable_test(test.name, move || match &stage.assets {
            Err(why) => Ok(Completion::ignored_with(why)),
            Ok(assets) => stage.perform(assets, test.body).map(|()| Completion::Completed),
        })
    }

    fn perform(&self, assets: &Assets, body: Body) -> Result<(), Failed> {
        let start = || self.runtime.block_on(ControlPlane::start(assets));
        let plane =
            self.plane.get_or_init(|| start().map(|plane| Mutex::new(Some(Arc::new(plane)))));
        let plane = plane.as_ref()?.lock().expect("nobody panics with the lock held").clone();
        let plane = plane.expect("it is cleared after the last test");
        if let Some(casualty) = plane.casualty() {
            return Err(casualty.into());
        }
        let watched = async {
            tokio::select! {
                () = body(Arc::clone(&plane)) => Ok(()),
                casualty = casualty(&plane) => Err(casualty.into()),
                () = tokio::time::sleep(LONGEST) => Err("the test does not end".into()),
            }
        };
        let end = catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(watched)));
        // What else went wrong then is only what follows from it.
        match plane.casualty() {
            Some(casualty) => Err(casualty.into()),
            None => end.unwrap_or_else(|panic| resume_unwind(panic)),
        }
    }

    /// Ends the control plane; after a failure its logs stay.
    fn clear(&self, failed: bool) {
        let Some(Ok(plane)) = self.plane.get() else { return };
        let Some(plane) = plane.lock().expect("nobody panics with the lock held").take() else {
            return;
        };
        if failed {
            match plane.keep_logs() {
                Ok(logs) => eprintln!("the control plane's logs are in {}", logs.display()),
                Err(why) => eprintln!("the control plane's logs are lost: {why}"),
            }
        }
    }
}

async fn casualty(plane: &ControlPlane) -> String {
    loop {
        if let Some(casualty) = plane.casualty() {
            return casualty;
        }
        tokio::time::sleep(PULSE).await;
    }
}
