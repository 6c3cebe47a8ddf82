//! Setting the protection of instances from scale-in: what `set_protection` and the undo of `scale_nodegroup` share.

use super::{Result, nodegroups};
use crate::platform::{
    Class,
    aws::{AutoScalingGroup, GroupInstance, MAX_PROTECTED_AT_ONCE, Writer},
};

/// An instance whose flag could not be set, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unset {
    pub(super) id: String,
    pub(super) reason: String,
}

/// Sets the flag of these instances where it is not set, in as few calls as the service allows, and returns those
/// whose flag cannot be set.
///
/// # Errors
/// A call failed for another reason than that an instance had just changed its state.
pub(super) async fn protect(
    aws: &Writer,
    group: &str,
    ids: &[String],
    protected: bool,
) -> Result<Vec<Unset>> {
    let mut now = nodegroups::group(aws.reader(), group).await?;
    match send(aws, &now, ids, protected).await {
        // One instance in the wrong state spoils the call for all; which one it was shows the group.
        Err(error) if error.class() == Class::Invalid => {
            now = nodegroups::group(aws.reader(), group).await?;
            send(aws, &now, ids, protected).await?;
        }
        result => result?,
    }
    Ok(ids.iter().filter_map(|id| why_not(&now, id)).collect())
}

async fn send(
    aws: &Writer,
    group: &AutoScalingGroup,
    ids: &[String],
    protected: bool,
) -> Result<(), crate::platform::Error> {
    let needs_it = |id: &&String| {
        member(group, id).is_some_and(|one| one.is_protectable() && one.protected != protected)
    };
    let ids: Vec<String> = ids.iter().filter(needs_it).cloned().collect();
    for batch in ids.chunks(MAX_PROTECTED_AT_ONCE) {
        aws.set_instance_protection(&group.name, batch, protected).await?;
    }
    Ok(())
}

/// Why the flag of an instance cannot be set; nothing if it can.
pub(super) fn why_not(group: &AutoScalingGroup, id: &str) -> Option<Unset> {
    let reason = match member(group, id) {
        Some(one) if one.is_protectable() => return None,
        Some(one) => format!("it is {}", one.lifecycle),
        None => format!("it is not in Auto Scaling group {} any more", group.name),
    };
    Some(Unset { id: id.to_owned(), reason })
}

pub(super) fn member<'a>(group: &'a AutoScalingGroup, id: &str) -> Option<&'a GroupInstance> {
    group.instances.iter().find(|instance| instance.id == id)
}
