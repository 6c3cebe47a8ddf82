//! The entry point: answers completion requests, parses the arguments, starts the log and runs the subcommand.

use std::process::ExitCode;

use rafay_relay_sop::cli::{self, Cli, telemetry};

/// The allocator of static programs: musl's own has one lock for all threads (docs/performance.md).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::answer_completion_request();
    let arguments = Cli::read();
    telemetry::start(arguments.log_format());
    arguments.run().into()
}
