//! Runs the tests: those that need a part which this machine does not have are ignored, visibly; the others get it.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::stage::{Part, Slot, Stage};

/// Longer than any of these tests takes on a machine that does much else besides.
const LONGEST: Duration = Duration::from_secs(300);

/// How often it is asked whether the parts still live.
const PULSE: Duration = Duration::from_millis(500);

/// The parts that a test is performed on.
pub(crate) trait Cast: Sized {
    /// Why they cannot all be had.
    fn missing(stage: &Stage) -> Option<String>;
    /// Starts those that do not run yet.
    fn enter(stage: &Stage) -> Result<Self, String>;
    /// One of their programs that has ended.
    fn casualty(stage: &Stage) -> Option<String>;
}

impl<P: Part> Cast for Arc<P> {
    fn missing(stage: &Stage) -> Option<String> {
        P::place(stage).missing().map(str::to_owned)
    }

    fn enter(stage: &Stage) -> Result<Self, String> {
        P::place(stage).enter(&stage.runtime)
    }

    fn casualty(stage: &Stage) -> Option<String> {
        Self::enter(stage).ok()?.casualty()
    }
}

impl<A: Cast, B: Cast> Cast for (A, B) {
    fn missing(stage: &Stage) -> Option<String> {
        A::missing(stage).or_else(|| B::missing(stage))
    }

    fn enter(stage: &Stage) -> Result<Self, String> {
        Ok((A::enter(stage)?, B::enter(stage)?))
    }

    fn casualty(stage: &Stage) -> Option<String> {
        A::casualty(stage).or_else(|| B::casualty(stage))
    }
}

type Performance = Box<dyn FnOnce(&Stage) -> Result<(), Failed> + Send>;

/// A test on some of the parts.
pub(crate) struct Test {
    name: &'static str,
    missing: fn(&Stage) -> Option<String>,
    perform: Performance,
}

/// A test on the parts that its body takes.
pub(crate) fn test<C, F, Fut>(name: &'static str, body: F) -> Test
where
    C: Cast,
    F: FnOnce(C) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let perform = move |stage: &Stage| {
        let cast = C::enter(stage)?;
        perform(stage, C::casualty, Box::pin(body(cast)))
    };
    Test { name, missing: C::missing, perform: Box::new(perform) }
}

fn perform(
    stage: &Stage,
    casualty: fn(&Stage) -> Option<String>,
    body: Pin<Box<dyn Future<Output = ()>>>,
) -> Result<(), Failed> {
    if let Some(casualty) = casualty(stage) {
        return Err(casualty.into());
    }
    let watched = async {
        tokio::select! {
            () = body => Ok(()),
            casualty = first(|| casualty(stage)) => Err(casualty.into()),
            () = tokio::time::sleep(LONGEST) => Err("the test does not end".into()),
        }
    };
    let end = catch_unwind(AssertUnwindSafe(|| stage.runtime.block_on(watched)));
    // What else went wrong then is only what follows from it.
    match casualty(stage) {
        Some(casualty) => Err(casualty.into()),
        None => end.unwrap_or_else(|panic| resume_unwind(panic)),
    }
}

async fn first(mut casualty: impl FnMut() -> Option<String>) -> String {
    loop {
        if let Some(casualty) = casualty() {
            return casualty;
        }
        tokio::time::sleep(PULSE).await;
    }
}

/// Runs `free` tests, and those that need parts, and says how it went.
pub(crate) fn run(free: Vec<Trial>, tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share a cluster and look at all of it.
    arguments.test_threads = Some(1);
    let stage = Arc::new(Stage::new());
    if !arguments.list {
        announce(&stage.plane);
        announce(&stage.moto);
    }
    let trials = tests.into_iter().map(|test| trial(&stage, test)).chain(free).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    stage.clear(conclusion.has_failed());
    conclusion.exit_code()
}

/// Says in one line what is not going to be tested.
fn announce<P: Part>(slot: &Slot<P>) {
    if let Some(why) = slot.missing() {
        eprintln!("tests on {} are IGNORED: {why}", P::NAME);
    }
}

fn trial(stage: &Arc<Stage>, test: Test) -> Trial {
    let stage = Arc::clone(stage);
    Trial::ignorable_test(test.name, move || match (test.missing)(&stage) {
        Some(why) => Ok(Completion::ignored_with(why)),
        None => (test.perform)(&stage).map(|()| Completion::Completed),
    })
}
