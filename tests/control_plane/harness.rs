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

use crate::environment::{Service, Slot, TestEnvironment};

/// Longer than any of these tests takes on a machine that does much else besides.
const TEST_TIMEOUT: Duration = Duration::from_mins(5);

/// The interval at which the parts are checked for being alive.
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The parts that a test is performed on.
pub(crate) trait Requires: Sized {
    /// Returns why a part is not available.
    fn missing(environment: &TestEnvironment) -> Option<String>;
    /// Starts those that do not run yet, and what an earlier test has left stopped.
    fn acquire(environment: &TestEnvironment) -> Result<Self, String>;
    /// One of their programs that has ended.
    fn crashed(environment: &TestEnvironment) -> Option<String>;
}

impl<P: Service> Requires for Arc<P> {
    fn missing(environment: &TestEnvironment) -> Option<String> {
        P::slot(environment).missing().map(str::to_owned)
    }

    fn acquire(environment: &TestEnvironment) -> Result<Self, String> {
        let part = P::slot(environment).acquire(&environment.runtime)?;
        environment.runtime.block_on(part.restore());
        Ok(part)
    }

    fn crashed(environment: &TestEnvironment) -> Option<String> {
        P::slot(environment).acquire(&environment.runtime).ok()?.crashed()
    }
}

impl<A: Requires, B: Requires> Requires for (A, B) {
    fn missing(environment: &TestEnvironment) -> Option<String> {
        A::missing(environment).or_else(|| B::missing(environment))
    }

    fn acquire(environment: &TestEnvironment) -> Result<Self, String> {
        Ok((A::acquire(environment)?, B::acquire(environment)?))
    }

    fn crashed(environment: &TestEnvironment) -> Option<String> {
        A::crashed(environment).or_else(|| B::crashed(environment))
    }
}

type TestFn = Box<dyn FnOnce(&TestEnvironment) -> Result<(), Failed> + Send>;

/// A test on some of the parts.
pub(crate) struct Test {
    name: String,
    missing: fn(&TestEnvironment) -> Option<String>,
    run: TestFn,
    is_only_on_request: bool,
}

impl Test {
    /// A test that is not performed unless ignored ones are asked for: one that measures.
    pub(crate) fn only_on_request(self) -> Self {
        Self { is_only_on_request: true, ..self }
    }
}

/// A test on the parts that its body takes.
pub(crate) fn test<C, F, Fut>(name: impl Into<String>, body: F) -> Test
where
    C: Requires,
    F: FnOnce(C) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let run = move |environment: &TestEnvironment| {
        let services = C::acquire(environment)?;
        run_test(environment, C::crashed, Box::pin(body(services)))
    };
    Test { name: name.into(), missing: C::missing, run: Box::new(run), is_only_on_request: false }
}

fn run_test(
    environment: &TestEnvironment,
    crashed: fn(&TestEnvironment) -> Option<String>,
    body: Pin<Box<dyn Future<Output = ()>>>,
) -> Result<(), Failed> {
    if let Some(crashed) = crashed(environment) {
        return Err(crashed.into());
    }
    let watched = async {
        tokio::select! {
            () = body => Ok(()),
            crashed = wait_for_crash(|| crashed(environment)) => Err(crashed.into()),
            () = tokio::time::sleep(TEST_TIMEOUT) => Err("the test does not end".into()),
        }
    };
    let end = catch_unwind(AssertUnwindSafe(|| environment.runtime.block_on(watched)));
    // What else went wrong then is only what follows from it.
    match crashed(environment) {
        Some(crashed) => Err(crashed.into()),
        None => end.unwrap_or_else(|panic| resume_unwind(panic)),
    }
}

async fn wait_for_crash(mut crashed: impl FnMut() -> Option<String>) -> String {
    loop {
        if let Some(crashed) = crashed() {
            return crashed;
        }
        tokio::time::sleep(HEALTH_CHECK_INTERVAL).await;
    }
}

/// Runs `standalone` tests, and those that need parts, and says how it went.
pub(crate) fn run_all(standalone: Vec<Trial>, tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share a cluster and look at all of it.
    arguments.test_threads = Some(1);
    let environment = Arc::new(TestEnvironment::new());
    if !arguments.list {
        report_missing(&environment.plane);
        report_missing(&environment.moto);
    }
    let trials =
        tests.into_iter().map(|test| trial(&environment, test)).chain(standalone).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    environment.shut_down(conclusion.has_failed());
    conclusion.exit_code()
}

/// Says in one line what is not going to be tested.
fn report_missing<P: Service>(slot: &Slot<P>) {
    if let Some(why) = slot.missing() {
        eprintln!("tests on {} are IGNORED: {why}", P::NAME);
    }
}

fn trial(environment: &Arc<TestEnvironment>, test: Test) -> Trial {
    let environment = Arc::clone(environment);
    let is_ignored = test.is_only_on_request;
    let trial = Trial::ignorable_test(test.name, move || match (test.missing)(&environment) {
        Some(why) => Ok(Completion::ignored_with(why)),
        None => (test.run)(&environment).map(|()| Completion::Completed),
    });
    trial.with_ignored_flag(is_ignored)
}

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("harness::a_crashed_program_fails_the_test_in_one_line", || {
            ends_with_its_program();
            Ok(())
        }),
        Trial::test("harness::tests_without_programs_are_reported_as_ignored", || {
            is_ignored_without_programs();
            Ok(())
        }),
    ]
}

/// A part that dies while the test is performed.
struct DyingService;

impl Requires for DyingService {
    fn missing(_: &TestEnvironment) -> Option<String> {
        None
    }

    fn acquire(_: &TestEnvironment) -> Result<Self, String> {
        Ok(Self)
    }

    fn crashed(_: &TestEnvironment) -> Option<String> {
        static CHECKS: AtomicUsize = AtomicUsize::new(0);
        (CHECKS.fetch_add(1, Ordering::Relaxed) > 1).then(|| "etcd has ended".into())
    }
}

fn ends_with_its_program() {
    // What it does has no end, and would fail in other words if it had one.
    let endless = test("endless", async |_: DyingService| std::future::pending().await);
    let end = (endless.run)(&TestEnvironment::new());
    assert_eq!(end.unwrap_err().message(), Some("etcd has ended"));
}

fn is_ignored_without_programs() {
    let nowhere = "/nowhere";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("SOP_CONTROL_PLANE_ASSETS", nowhere).env("SOP_MOTO_SERVER", nowhere);
    let output = command.arg("moto::").output().unwrap();
    let (stderr, summary) =
        (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    let lines: Vec<&str> = stderr.lines().collect();
    let [plane, moto] = lines[..] else { panic!("{stderr}") };
    assert!(plane.starts_with("tests on the control plane are IGNORED: "), "{plane}");
    assert!(moto.starts_with("tests on moto are IGNORED: "), "{moto}");
    let ignored = summary.lines().filter(|line| line.contains(" ... ignored (")).count();
    assert!(ignored > 0, "{summary}");
    let counted = format!("0 passed; 0 failed; {ignored} ignored");
    assert!(summary.contains(&counted), "{summary}");
    assert!(output.status.success());
}
