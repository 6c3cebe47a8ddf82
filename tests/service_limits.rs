//! The HTTP service under load: its descriptors and its memory.

/// A journal stays open while its run is driven, and no longer. `cargo bench --bench soak` makes 2,000 runs.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn descriptors_and_memory_do_not_grow_with_the_number_of_runs() {
    let (first, last) = test_support::soak(250).await;
    assert!(last.descriptors <= first.descriptors + 4, "{first:?}, {last:?}");
    assert!(last.memory <= first.memory + 32 * 1024, "{first:?}, {last:?}");
}
