//! The objects of Kubernetes, as far as runbooks name them: kinds, paths to fields, and the fields that no action reads
//! or changes. Pure, and used by the rules before a run and by the actions in it, so that both agree.

mod kind;
mod path;
mod refusal;

pub(crate) use kind::kind_of;
pub use kind::{ObjectKind, ObjectKindError};
pub use path::{ObjectPath, PathSegment, leaf_paths};
pub use refusal::{refusal_to_patch, refusal_to_read};
