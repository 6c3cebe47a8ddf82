//! The end of a journal: its many small objects are replaced by as few as hold it.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Shared,
    failure::{Call, too_large},
    open_run::{Owner, create_part, part},
    parts,
};
use crate::{journal::StoreError, platform::kubernetes::RunEvents};

/// How many objects are deleted at the same time.
const CONCURRENT_DELETIONS: usize = 8;

/// Replaces the objects of a run that is over. May be repeated, also where it was interrupted: all objects that replace
/// others are there before the first of those is deleted.
///
/// # Errors
/// A call failed. The journal is whole.
pub(super) async fn compact(
    shared: &Shared,
    owner: &Owner,
    writer: &str,
) -> Result<(), StoreError> {
    let (objects, run) = (&shared.objects, &owner.run);
    let found = objects.list_events(run.as_str(), owner.uid()).await;
    let found = found.map_err(|error| Call::LIST_EVENTS.failed(objects, &error))?;
    let place = shared.place(run);
    let text = parts::assemble(&place, &found)?;
    let lines = parts::lines_of(&text);
    let (replacing, small): (Vec<RunEvents>, Vec<RunEvents>) =
        found.into_iter().partition(|part| part.spec.compacted);
    // The name of the others stays taken: a writer that was replaced there may come back.
    let replaced: Vec<RunEvents> = small.into_iter().filter(|part| !part.spec.takes_over).collect();
    let mut next = 0;
    while next < lines.len() {
        let first = next as u64;
        if let Some(known) = replacing.iter().find(|part| part.spec.first == first) {
            next = usize::try_from(parts::end(&known.spec)).unwrap_or(usize::MAX);
            continue;
        }
        let chunks = parts::split(first, &lines[next..]);
        let chunks = chunks.map_err(|error| too_large(&place, &error))?;
        if next == 0 && chunks.len() >= replaced.len() {
            return Ok(());
        }
        let Some(chunk) = chunks.into_iter().next() else { break };
        next += usize::try_from(chunk.count).unwrap_or(usize::MAX);
        create_part(shared, run, &part(owner, writer, chunk, false, true), true).await?;
    }
    stream::iter(replaced)
        .map(|part| async move {
            let deleted = objects.delete_events(&part).await;
            deleted.map_err(|error| Call::DELETE_EVENTS.failed(objects, &error))
        })
        .buffer_unordered(CONCURRENT_DELETIONS)
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
}
