//! Lists of whole kinds of which only a part is kept. Each object is reduced when its page has been read, so that a
//! large cluster is never in memory as a whole.

use kube::api::Api;
use kube::core::ApiResource;

use crate::platform::error::Error;

use super::{AnyObject, KubernetesReader, Listing, MAX_READ_ATTEMPTS, Selection};

/// A kind whose objects are listed without a type of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedKind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version in the group.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The kind in URLs, in the plural.
    pub resource: &'static str,
}

/// The parts of the objects of a kind that were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected<T> {
    /// The part of each object.
    pub items: Vec<T>,
    /// How many pages were read.
    pub pages: u32,
}

impl ListedKind {
    /// Returns `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }
}

impl KubernetesReader {
    /// Returns what `keep` makes of every object of a kind, in every namespace, read in pages.
    ///
    /// # Errors
    /// A page failed, repeatedly where that can help; the code is `404` where the API server does not serve the kind.
    pub async fn collect<T>(
        &self,
        kind: &ListedKind,
        keep: impl Fn(AnyObject) -> T,
    ) -> Result<Collected<T>, Error> {
        let resource = ApiResource {
            api_version: kind.api_version(),
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            kind: kind.kind.to_owned(),
            plural: kind.resource.to_owned(),
        };
        let listing = Listing {
            api: Api::<AnyObject>::all_with(self.connection.client.clone(), &resource),
            selection: Selection::all(),
            description: kind.resource.to_owned(),
        };
        let pages = self.connection.list_kept(&listing, MAX_READ_ATTEMPTS, keep).await?;
        Ok(Collected { items: pages.items, pages: pages.count })
    }
}
