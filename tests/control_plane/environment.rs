//! The parts of the environment that tests need: each is located once, started for the first test that needs it, and
//! stopped after the last.

use std::sync::{Arc, Mutex, OnceLock};

use tokio::runtime::Runtime;

use crate::{fixture::ControlPlane, moto::Moto, scratch_dir::ScratchDir};

/// The number of attempts to start a part: another process may take a port between its choice and its use.
const MAX_START_ATTEMPTS: usize = 3;

/// Third-party programs that tests share.
pub(crate) trait Service: Sized {
    /// The name of the service in messages.
    const NAME: &'static str;
    /// The prefix of the name of the service's directory.
    const DIR_PREFIX: &'static str;
    /// The programs from which the service is started.
    type Assets;

    /// Returns the slot of the service in the environment.
    fn slot(environment: &TestEnvironment) -> &Slot<Self>;
    /// Finds the assets; an error says why they are missing.
    fn find() -> Result<Self::Assets, String>;
    /// Starts it and waits until it does its work. It fails with the system's words where a port was taken.
    fn start_once(
        assets: &Self::Assets,
        scratch_dir: Arc<ScratchDir>,
    ) -> impl Future<Output = Result<Self, String>>;
    /// A program of it that has ended, which none of them does by itself.
    fn crashed(&self) -> Option<String>;
    /// Starts again what a test that failed has left stopped.
    fn restore(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }
    /// Returns the directory that has the logs.
    fn scratch_dir(&self) -> &ScratchDir;
}

/// All parts.
pub(crate) struct TestEnvironment {
    pub(crate) runtime: Runtime,
    pub(crate) plane: Slot<ControlPlane>,
    pub(crate) moto: Slot<Moto>,
}

impl TestEnvironment {
    pub(crate) fn new() -> Self {
        let runtime = Runtime::new().expect("a process can have threads");
        Self { runtime, plane: Slot::new(), moto: Slot::new() }
    }

    /// Ends everything; after a failure the logs stay.
    pub(crate) fn shut_down(&self, failed: bool) {
        self.plane.shut_down(failed);
        self.moto.shut_down(failed);
    }
}

async fn start<P: Service>(assets: &P::Assets) -> Result<P, String> {
    let mut starts = 1;
    loop {
        let scratch_dir = ScratchDir::new(P::DIR_PREFIX);
        let scratch_dir = scratch_dir.map_err(|why| format!("cannot make a directory: {why}"))?;
        let scratch_dir = Arc::new(scratch_dir);
        match P::start_once(assets, Arc::clone(&scratch_dir)).await {
            Ok(part) => return Ok(part),
            Err(why) if starts < MAX_START_ATTEMPTS && why.contains("already in use") => {
                starts += 1;
            }
            Err(why) => return Err(format!("{why}\n{}", logs_of::<P>(&scratch_dir))),
        }
    }
}

/// Copies the logs to where they outlive the part, and says where.
fn logs_of<P: Service>(scratch_dir: &ScratchDir) -> String {
    match scratch_dir.copy_logs() {
        Ok(logs) => format!("the logs of {} are in {}", P::NAME, logs.display()),
        Err(why) => format!("the logs of {} are lost: {why}", P::NAME),
    }
}

/// The place of one part.
pub(crate) struct Slot<P: Service> {
    assets: Result<P::Assets, String>,
    running: OnceLock<Result<Mutex<Option<Arc<P>>>, String>>,
}

impl<P: Service> Slot<P> {
    fn new() -> Self {
        Self { assets: P::find(), running: OnceLock::new() }
    }

    /// Returns why the service is not available.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.assets.as_ref().err().map(String::as_str)
    }

    /// The running part.
    pub(crate) fn acquire(&self, runtime: &Runtime) -> Result<Arc<P>, String> {
        let assets = self.assets.as_ref()?;
        let start = || runtime.block_on(start::<P>(assets));
        let part =
            self.running.get_or_init(|| start().map(|part| Mutex::new(Some(Arc::new(part)))));
        let part = part.as_ref()?.lock().expect("no holder panics").clone();
        Ok(part.expect("it is cleared after the last test"))
    }

    fn shut_down(&self, failed: bool) {
        let Some(Ok(part)) = self.running.get() else { return };
        let Some(part) = part.lock().expect("no holder panics").take() else {
            return;
        };
        if failed {
            eprintln!("{}", logs_of::<P>(part.scratch_dir()));
        }
    }
}
