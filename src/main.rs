//! The entry point: answers completion requests, parses the arguments, starts the log and runs the subcommand.

use std::{process::ExitCode, time::Duration};

use rafay_relay_sop::cli::{self, Cli, telemetry};

/// The allocator of static programs: musl's own has one lock for all threads (docs/performance.md).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the end of the program waits for threads whose work is not needed any more: a credential plugin may hang.
const THREADS_GRACE_PERIOD: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    cli::answer_completion_request();
    let arguments = Cli::read();
    telemetry::start(arguments.log_format());
    let runtime = tokio::runtime::Runtime::new().expect("the system gives a process its threads");
    let exit = runtime.block_on(arguments.run());
    runtime.shutdown_timeout(THREADS_GRACE_PERIOD);
    exit.into()
}
