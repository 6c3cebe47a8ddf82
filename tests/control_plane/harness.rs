//! Runs the tests: those that need a part which this machine does not have are ignored, visibly; the others get it.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
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
    name: String,
    missing: fn(&Stage) -> Option<String>,
    perform: Performance,
}

/// A test on the parts that its body takes.
pub(crate) fn test<C, F, Fut>(name: impl Into<String>, body: F) -> Test
where
    C: Cast,
    F: FnOnce(C) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let perform = move |stage: &Stage| {
        let cast = C::enter(stage)?;
        perform(stage, C::casualty, Box::pin(body(cast)))
    };
    Test { name: name.into(), missing: C::missing, perform: Box::new(perform) }
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

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("harness::a_program_that_dies_ends_the_test_in_one_line", || {
            ends_with_its_program();
            Ok(())
        }),
        Trial::test("harness::what_is_missing_is_said_and_counted_as_ignored", || {
            is_ignored_without_programs();
            Ok(())
        }),
    ]
}

/// A part that dies while the test is performed.
struct Mortal;

impl Cast for Mortal {
    fn missing(_: &Stage) -> Option<String> {
        None
    }

    fn enter(_: &Stage) -> Result<Self, String> {
        Ok(Self)
    }

    fn casualty(_: &Stage) -> Option<String> {
        static LOOKS: AtomicUsize = AtomicUsize::new(0);
        (LOOKS.fetch_add(1, Ordering::Relaxed) > 1).then(|| "etcd has ended".into())
    }
}

fn ends_with_its_program() {
    // What it does has no end, and would fail in other words if it had one.
    let endless = test("endless", async |_: Mortal| std::future::pending().await);
    let end = (endless.perform)(&Stage::new());
    assert_eq!(end.unwrap_err().message(), Some("etcd has ended"));
}

fn is_ignored_without_programs() {
    let nowhere = "/nowhere";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("SOP_CONTROL_PLANE_ASSETS", nowhere).env("SOP_MOTO_SERVER", nowhere);
    let output = command.arg("moto::").output().unwrap();
    let (said, summary) =
        (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    let lines: Vec<&str> = said.lines().collect();
    let [plane, moto] = lines[..] else { panic!("{said}") };
    assert!(plane.starts_with("tests on the control plane are IGNORED: "), "{plane}");
    assert!(moto.starts_with("tests on moto are IGNORED: "), "{moto}");
    let ignored = summary.lines().filter(|line| line.contains(" ... ignored (")).count();
    assert!(ignored > 0, "{summary}");
    let counted = format!("0 passed; 0 failed; {ignored} ignored");
    assert!(summary.contains(&counted), "{summary}");
    assert!(output.status.success());
}
