//! Signals: Ctrl-C cancels the run, a second Ctrl-C ends the program; SIGTERM interrupts the run, which can be resumed.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use super::live::StopNotice;
use crate::engine::Control;

/// Forwards signals to a run until the returned task is aborted.
pub(super) fn forward_to(control: Control, notice: StopNotice) -> std::io::Result<JoinHandle<()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let terminate = signal(SignalKind::terminate())?;
    let shut_down = control.clone();
    Ok(tokio::spawn(async move {
        tokio::select! {
            () = cancel_then_exit(&mut interrupt, control, &notice) => {}
            () = shut_down_on_terminate(terminate, shut_down, &notice) => {}
        }
    }))
}

async fn cancel_then_exit(interrupt: &mut Signal, control: Control, notice: &StopNotice) {
    interrupt.recv().await;
    notice.show(match control.is_ending() {
        true => "the steps are over; restoring what is not to outlast the run; press Ctrl-C again to exit immediately",
        false => "cancelling after the call in flight; press Ctrl-C again to exit immediately",
    });
    control.cancel("the person at the terminal");
    interrupt.recv().await;
    notice.clear();
    // The journal holds everything that was done: the run counts as interrupted and can be resumed.
    std::process::exit(130);
}

async fn shut_down_on_terminate(mut terminate: Signal, control: Control, notice: &StopNotice) {
    terminate.recv().await;
    notice.show("stopping after the call in flight; the run can be resumed");
    control.shut_down();
    std::future::pending::<()>().await;
}
