//! Parses the arguments, starts telemetry, calls one function of `cli`.

use std::process::ExitCode;

use clap::Parser as _;
use rafay_relay_sop::cli::{Arguments, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::start();
    arguments.run().await.into()
}
