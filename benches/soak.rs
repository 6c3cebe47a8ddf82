//! Two thousand short runs in one service: `cargo bench --bench soak` prints its descriptors and its memory.
//!
//! `tests/service_limits.rs` does the same with fewer runs.

#![expect(clippy::print_stdout, reason = "the output is the result")]

/// The number of runs.
const RUNS: u32 = 2_000;

#[tokio::main]
async fn main() {
    #[cfg(target_os = "linux")]
    {
        let (first, last) = test_support::soak(RUNS).await;
        println!("after the first runs: {first:?}\nafter {RUNS} more: {last:?}");
        assert!(last.descriptors <= first.descriptors + 4);
    }
    #[cfg(not(target_os = "linux"))]
    println!("{RUNS} runs are counted on Linux only");
}
