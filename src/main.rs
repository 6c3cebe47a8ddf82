//! The entry point: answers completion requests, parses the arguments, starts the log and runs the subcommand.

use std::process::ExitCode;

use rafay_relay_sop::cli::{self, Cli, telemetry};

fn main() -> ExitCode {
    cli::answer_completion_request();
    let arguments = Cli::read();
    telemetry::start(arguments.log_format());
    run(arguments).into()
}

#[tokio::main]
async fn run(arguments: Cli) -> cli::Exit {
    arguments.run().await
}
