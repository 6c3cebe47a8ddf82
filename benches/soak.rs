//! Two thousand short runs in one service: `cargo bench --bench soak` prints its descriptors and its memory.
//!
//! `tests/service_limits.rs` does the same with fewer runs.

#![expect(clippy::print_stdout, reason = "the output is the result")]

/// The number of runs.
const RUNS: u32 = 2_000;

#[tokio::main]
async fn main() {
    test_support::measure::print_conditions("");
    #[cfg(target_os = "linux")]
    {
        let (first, last) = test_support::soak(RUNS).await;
        println!("| runs in one service | descriptors | memory |\n|---|---|---|");
        for (when, usage) in [("the first ones".to_owned(), first), (format!("{RUNS} more"), last)]
        {
            let tenths = usage.memory * 10 / 1024;
            println!("| {when} | {} | {}.{} MiB |", usage.descriptors, tenths / 10, tenths % 10);
        }
        assert!(last.descriptors <= first.descriptors + 4);
    }
    #[cfg(not(target_os = "linux"))]
    println!("{RUNS} runs are counted on Linux only");
}
