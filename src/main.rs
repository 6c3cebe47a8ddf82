//! Parses the arguments, starts telemetry, calls one function of `cli`.

use std::process::ExitCode;

use clap::Parser as _;
use rafay_relay_sop::cli::{Cli, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Cli::parse();
    telemetry::start();
    arguments.run().await.into()
}
