//! Signals: Ctrl-C cancels the run, a second Ctrl-C ends the program; SIGTERM interrupts the run, which can be resumed.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use super::stdout;
use crate::engine::Control;

/// Forwards signals to a run until the returned task is aborted.
pub(super) fn forward_to(control: Control) -> std::io::Result<JoinHandle<()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let terminate = signal(SignalKind::terminate())?;
    let shut_down = control.clone();
    Ok(tokio::spawn(async move {
        tokio::select! {
            () = cancel_then_exit(&mut interrupt, control) => {}
            () = shut_down_on_terminate(terminate, shut_down) => {}
        }
    }))
}

async fn cancel_then_exit(interrupt: &mut Signal, control: Control) {
    interrupt.recv().await;
    stdout::write_stderr_line(
        "cancelling after the call in flight; press Ctrl-C again to exit immediately",
    );
    control.cancel("the person at the terminal");
    interrupt.recv().await;
    // The journal holds everything that was done: the run counts as interrupted and can be resumed.
    std::process::exit(130);
}

async fn shut_down_on_terminate(mut terminate: Signal, control: Control) {
    terminate.recv().await;
    control.shut_down();
    std::future::pending::<()>().await;
}
