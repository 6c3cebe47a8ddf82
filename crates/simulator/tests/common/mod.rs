//! A running simulator with a client, and a wait, for the tests beside.

use std::future::Future;
use std::time::Duration;

use clock::Clock;
use kube::Client;
use simulator::{Options, Scenario, Simulator};

/// How long a test waits for a condition before it fails.
pub const WAIT_TIMEOUT: Duration = Duration::from_mins(1);

/// Starts a simulator at a speed.
pub async fn start(scenario: Scenario, speed: f64) -> (Simulator, Client) {
    let clock = Clock::scaled(speed).unwrap();
    let options = Options { clock, ..Options::default() };
    let simulator = Simulator::start(scenario, options).await.unwrap();
    let uri = simulator.kubernetes_url().as_str().parse().unwrap();
    let client = Client::try_from(kube::Config::new(uri)).unwrap();
    (simulator, client)
}

/// Waits until `condition` returns a value.
pub async fn wait_until<T, F, L>(what: &'static str, mut condition: L) -> T
where
    F: Future<Output = Option<T>>,
    L: FnMut() -> F,
{
    let deadline = tokio::time::Instant::now() + WAIT_TIMEOUT;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "timed out waiting for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
