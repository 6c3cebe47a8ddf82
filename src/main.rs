//! The entry point: answers completion requests, parses the arguments, starts the log and runs the subcommand.

use std::process::ExitCode;

use rafay_relay_sop::cli::{self, Cli, telemetry};

/// The allocator. Where many large texts are checked, glibc's takes twice the time and the memory, and musl's has one
/// lock for all threads (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::answer_completion_request();
    let arguments = Cli::read();
    telemetry::start(arguments.log_format());
    arguments.run().into()
}
