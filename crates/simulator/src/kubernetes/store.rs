//! All objects of the simulated API server, one version counter for all of them, and their recent
//! changes, so that a watch can start in the past and a list can be continued at the version at
//! which it began. Does not interpret the objects, except as the indexes and the usage of quotas say.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use serde_json::Value;
use tokio::sync::watch;

use crate::ids::IdGenerator;

use super::admission::NamespaceUsage;
use super::index::{self, Index};
use super::kinds::{KINDS, Kind};
use super::object::{self, put};

/// The number of changes that are kept. An API server keeps those of five minutes.
const HISTORY: usize = 4_096;

/// The number of changes that are kept if an open watch has not sent them yet.
const UNSENT_HISTORY: usize = 20_000;

/// A namespace and a name.
pub(crate) type ObjectKey = (String, String);
type ResourceKey = (&'static str, &'static str);

/// The rank of a kind in the table, and an object of it.
type IndexedKey = (usize, ObjectKey);

/// The objects that an index has under a value: the kinds in the order of the table, and the objects of each in the
/// order in which they are listed. Most are alone under theirs, such as under a UID, and a set of one is large.
#[derive(Debug)]
enum IndexedKeys {
    One(IndexedKey),
    Several(BTreeSet<IndexedKey>),
}

impl IndexedKeys {
    fn iter(&self) -> impl Iterator<Item = &IndexedKey> {
        let (one, several) = match self {
            Self::One(key) => (Some(key), None),
            Self::Several(keys) => (None, Some(keys)),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    fn insert(&mut self, key: IndexedKey) {
        match self {
            Self::One(first) if *first == key => {}
            Self::One(first) => *self = Self::Several(BTreeSet::from([first.clone(), key])),
            Self::Several(keys) => drop(keys.insert(key)),
        }
    }

    /// Removes a key, and returns whether none is left.
    fn remove(&mut self, key: &IndexedKey) -> bool {
        match self {
            Self::One(first) => first == key,
            Self::Several(keys) => {
                keys.remove(key);
                keys.is_empty()
            }
        }
    }
}

/// An object as it is kept.
pub(crate) enum KeptObject {
    Whole(Arc<Value>),
    /// As JSON, which takes a fifth of the memory. It is whole as well since it was borrowed, until it changes.
    Text(Box<str>, OnceLock<Arc<Value>>),
}

/// The deepest object that is kept as text: it is read again within the limit of the parser.
const MAX_TEXT_DEPTH: usize = 32;

impl KeptObject {
    fn new(resource: &Kind, object: &Arc<Value>) -> Self {
        if resource.is_seldom_read && object::is_within_depth(object, MAX_TEXT_DEPTH) {
            Self::Text(object.to_string().into(), OnceLock::new())
        } else {
            Self::Whole(Arc::clone(object))
        }
    }

    /// Returns the object, which stays whole.
    fn borrow(&self) -> &Arc<Value> {
        match self {
            Self::Whole(object) => object,
            Self::Text(text, whole) => whole.get_or_init(|| parse(text)),
        }
    }

    /// Returns the object, and keeps no more of it than before.
    fn read(&self) -> Arc<Value> {
        match self {
            Self::Whole(object) => Arc::clone(object),
            Self::Text(text, whole) => whole.get().map_or_else(|| parse(text), Arc::clone),
        }
    }
}

fn parse(text: &str) -> Arc<Value> {
    let object = serde_json::from_str(text).expect("the text was made of an object");
    Arc::new(object::compact(object))
}

/// An object in a list, which need not be read to be counted.
pub(crate) enum ListedObject<'a> {
    Now(&'a KeptObject),
    Before(&'a Arc<Value>),
}

impl ListedObject<'_> {
    pub(crate) fn read(&self) -> Arc<Value> {
        match self {
            Self::Now(kept) => kept.read(),
            Self::Before(object) => Arc::clone(object),
        }
    }
}

/// The objects in the order in which they are listed: by namespace, then by name.
pub(crate) struct ObjectStore {
    objects: BTreeMap<ResourceKey, BTreeMap<ObjectKey, KeptObject>>,
    indexes: HashMap<(Index, String), IndexedKeys>,
    usage: NamespaceUsage,
    history: VecDeque<ObjectChange>,
    /// The changes that the controllers have not taken yet; `None` if there are no controllers.
    untaken: Option<Vec<ObjectChange>>,
    version: u64,
    /// The version up to which changes have been discarded.
    compacted: u64,
    versions: watch::Sender<u64>,
    /// The version up to which each open watch has sent all changes.
    positions: Vec<Weak<AtomicU64>>,
    pub(crate) ids: IdGenerator,
}

/// A change of one object.
#[derive(Debug, Clone)]
pub(crate) struct ObjectChange {
    pub(crate) resource: &'static Kind,
    pub(crate) version: u64,
    pub(crate) before: Option<Arc<Value>>,
    /// The new object, or the last version of a deleted one.
    pub(crate) object: Arc<Value>,
    pub(crate) deleted: bool,
}

impl ObjectChange {
    /// Returns whether a part of the object is not as before: the object is new, is gone, or has another value there.
    pub(crate) fn alters<'a, T: PartialEq>(&'a self, part: impl Fn(&'a Value) -> T) -> bool {
        let before = self.before.as_deref();
        self.deleted || before.is_none_or(|before| part(before) != part(&self.object))
    }
}

/// The error for a version whose following changes have been discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) oldest: u64,
}

impl ObjectStore {
    pub(crate) fn new(ids: IdGenerator) -> Self {
        Self {
            objects: BTreeMap::new(),
            indexes: HashMap::new(),
            usage: NamespaceUsage::default(),
            history: VecDeque::new(),
            untaken: None,
            version: 1,
            compacted: 1,
            versions: watch::Sender::new(1),
            positions: Vec::new(),
            ids,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Returns a receiver of every new version.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// Returns the position of a new watch, which it raises to the version up to which it has sent
    /// all changes.
    pub(crate) fn open_watch(&mut self, sent_version: u64) -> Arc<AtomicU64> {
        self.positions.retain(|position| position.strong_count() > 0);
        let position = Arc::new(AtomicU64::new(sent_version));
        self.positions.push(Arc::downgrade(&position));
        position
    }

    pub(crate) fn get(&self, resource: &Kind, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.kept(resource, namespace, name).map(KeptObject::borrow)
    }

    /// Returns the same as `get`. What reads objects of any kind calls this: it keeps none whole that is kept as text.
    pub(crate) fn read(&self, resource: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.kept(resource, namespace, name).map(KeptObject::read)
    }

    fn kept(&self, resource: &Kind, namespace: &str, name: &str) -> Option<&KeptObject> {
        let key = (namespace.to_owned(), name.to_owned());
        self.objects.get(&resource.key())?.get(&key)
    }

    /// Returns the objects of a kind, of one namespace or of all.
    pub(crate) fn list<'a>(
        &'a self,
        resource: &Kind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        self.entries(resource, namespace, None).map(|(_, kept)| kept.borrow())
    }

    /// Returns the same as `list`, as [`read`](Self::read) does.
    pub(crate) fn read_all<'a>(
        &'a self,
        resource: &Kind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = Arc<Value>> + use<'a> {
        self.entries(resource, namespace, None).map(|(_, kept)| kept.read())
    }

    /// Returns the objects of a kind, of one namespace or of all, that are listed after a place.
    fn entries<'a>(
        &'a self,
        resource: &Kind,
        namespace: Option<&'a str>,
        after: Option<&ObjectKey>,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a KeptObject)> + use<'a> {
        // A place in another namespace before this one has nothing of it.
        let first = match after.filter(|after| namespace.is_none_or(|own| own <= after.0.as_str()))
        {
            Some(after) => Bound::Excluded(after.clone()),
            None => Bound::Included((namespace.unwrap_or_default().to_owned(), String::new())),
        };
        let all = self.objects.get(&resource.key());
        all.into_iter()
            .flat_map(move |all| all.range((first.clone(), Bound::Unbounded)))
            .take_while(move |((own, _), _)| namespace.is_none_or(|wanted| wanted == own))
    }

    /// Returns the objects that an index has under a value, in the order of the kinds and of their lists.
    pub(crate) fn find<'a>(
        &'a self,
        index: Index,
        value: &str,
    ) -> impl Iterator<Item = (&'static Kind, &'a Arc<Value>)> {
        self.found(index, value).map(|(resource, kept)| (resource, kept.borrow()))
    }

    /// Returns the same as `find`, as [`read`](Self::read) does.
    pub(crate) fn read_found(&self, index: Index, value: &str) -> impl Iterator<Item = Arc<Value>> {
        self.found(index, value).map(|(_, kept)| kept.read())
    }

    fn found<'a>(
        &'a self,
        index: Index,
        value: &str,
    ) -> impl Iterator<Item = (&'static Kind, &'a KeptObject)> + use<'a> {
        let keys = self.indexes.get(&(index, value.to_owned()));
        keys.into_iter().flat_map(IndexedKeys::iter).filter_map(|(rank, key)| {
            let resource = KINDS[*rank];
            Some((resource, self.objects.get(&resource.key())?.get(key)?))
        })
    }

    /// Returns what the objects of each namespace with a quota use.
    pub(crate) fn usage(&self) -> &NamespaceUsage {
        &self.usage
    }

    /// Returns the objects of a kind as they were at a version, from the first one that is listed after a place.
    pub(crate) fn list_at<'a>(
        &'a self,
        resource: &Kind,
        namespace: Option<&'a str>,
        version: u64,
        after: Option<&ObjectKey>,
    ) -> Result<Box<dyn Iterator<Item = ListedObject<'a>> + 'a>, Compacted> {
        let changes = self.since(version)?;
        let now = self.entries(resource, namespace, after);
        if version == self.version {
            return Ok(Box::new(now.map(|(_, kept)| ListedObject::Now(kept))));
        }
        let mut objects: BTreeMap<(&str, &str), ListedObject<'_>> = now
            .map(|((namespace, name), kept)| {
                ((namespace.as_str(), name.as_str()), ListedObject::Now(kept))
            })
            .collect();
        let after = after.map(|(namespace, name)| (namespace.as_str(), name.as_str()));
        for change in changes.rev().filter(|change| change.resource == resource) {
            let key = (object::namespace(&change.object), object::name(&change.object));
            if namespace.is_some_and(|wanted| wanted != key.0) || Some(key) <= after {
                continue;
            }
            match &change.before {
                Some(before) => objects.insert(key, ListedObject::Before(before)),
                None => objects.remove(&key),
            };
        }
        Ok(Box::new(objects.into_values()))
    }

    /// Returns the changes after a version, oldest first.
    pub(crate) fn since(
        &self,
        version: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &ObjectChange>, Compacted> {
        if version < self.compacted {
            return Err(Compacted { oldest: self.compacted });
        }
        let start = self.history.partition_point(|change| change.version <= version);
        Ok(self.history.range(start..))
    }

    /// Stores an object, new or changed, under the next version.
    pub(crate) fn put(&mut self, resource: &'static Kind, mut object: Value) -> Arc<Value> {
        self.version += 1;
        put(&mut object, &["metadata", "resourceVersion"], self.version.to_string());
        let object = Arc::new(object::compact(object));
        let before = self.keep(resource, &object);
        self.record_change(resource, before, Arc::clone(&object), false);
        object
    }

    /// Takes an object that was there before the simulation: it has a version and is no change. It is not copied.
    pub(crate) fn load(&mut self, resource: &'static Kind, object: Arc<Value>) {
        let before = self.keep(resource, &object);
        let (version, deleted) = (self.version, false);
        self.note(&ObjectChange { resource, version, before, object, deleted });
    }

    /// Keeps an object, and returns the one in whose place it is.
    fn keep(&mut self, resource: &'static Kind, object: &Arc<Value>) -> Option<Arc<Value>> {
        let objects = self.objects.entry(resource.key()).or_default();
        let before = objects.insert(key_of(object), KeptObject::new(resource, object));
        before.map(|before| before.read())
    }

    /// Removes an object and returns it with the version of its deletion.
    pub(crate) fn delete(
        &mut self,
        resource: &'static Kind,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        let key = (namespace.to_owned(), name.to_owned());
        let before = self.objects.get_mut(&resource.key())?.remove(&key)?;
        let before = before.read();
        self.version += 1;
        let mut last = Value::clone(&before);
        put(&mut last, &["metadata", "resourceVersion"], self.version.to_string());
        let last = Arc::new(last);
        self.record_change(resource, Some(before), Arc::clone(&last), true);
        Some(last)
    }

    /// Discards the changes up to now.
    pub(crate) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.version;
    }

    /// Returns the changes since the last call; at the first one, all objects as if they had just been added.
    pub(crate) fn take_changes(&mut self) -> Vec<ObjectChange> {
        if let Some(untaken) = &mut self.untaken {
            return std::mem::take(untaken);
        }
        self.untaken = Some(Vec::new());
        let added = |resource: &'static Kind, object: Arc<Value>| ObjectChange {
            resource,
            version: self.version,
            before: None,
            object,
            deleted: false,
        };
        KINDS
            .into_iter()
            .flat_map(|resource| self.read_all(resource, None).map(move |o| added(resource, o)))
            .collect()
    }

    fn record_change(
        &mut self,
        resource: &'static Kind,
        before: Option<Arc<Value>>,
        object: Arc<Value>,
        deleted: bool,
    ) {
        let change = ObjectChange { resource, version: self.version, before, object, deleted };
        self.note(&change);
        if let Some(untaken) = &mut self.untaken {
            untaken.push(change.clone());
        }
        self.history.push_back(change);
        while self.history.len() > HISTORY {
            let is_unsent = |first: &ObjectChange| {
                let mut open = self.positions.iter().filter_map(Weak::upgrade);
                open.any(|position| position.load(Ordering::Relaxed) < first.version)
            };
            if self.history.len() <= UNSENT_HISTORY && self.history.front().is_some_and(is_unsent) {
                break;
            }
            if let Some(forgotten) = self.history.pop_front() {
                self.compacted = forgotten.version;
            }
        }
        self.versions.send_replace(self.version);
    }

    /// Keeps what is known of all objects in step with a change.
    fn note(&mut self, change: &ObjectChange) {
        self.update_indexes(change);
        if change.resource.namespaced {
            let mut usage = std::mem::take(&mut self.usage);
            usage.note(self, change);
            self.usage = usage;
        }
    }

    fn update_indexes(&mut self, change: &ObjectChange) {
        let resource = change.resource;
        let of = |object| index::entries(resource, object);
        let before = change.before.as_deref().map(of).unwrap_or_default();
        let now = if change.deleted { Vec::new() } else { of(&change.object) };
        if before == now {
            return;
        }
        let key = (resource.rank(), key_of(&change.object));
        for (index, value) in before.iter().filter(|entry| !now.contains(entry)) {
            let place = (*index, value.to_string());
            if self.indexes.get_mut(&place).is_some_and(|keys| keys.remove(&key)) {
                self.indexes.remove(&place);
            }
        }
        for (index, value) in now.iter().filter(|entry| !before.contains(entry)) {
            let place = (*index, value.to_string());
            let keys = self.indexes.entry(place);
            keys.and_modify(|keys| keys.insert(key.clone()))
                .or_insert_with(|| IndexedKeys::One(key.clone()));
        }
    }
}

fn key_of(object: &Value) -> ObjectKey {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{EVENTS, NODES, PODS};
    use super::*;
    use serde_json::json;

    fn node(name: &str, color: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"color": color}}})
    }

    fn listed(store: &ObjectStore, version: u64, after: Option<&str>) -> Vec<Arc<Value>> {
        let after = after.map(|name| (String::new(), name.to_owned()));
        let objects = store.list_at(&NODES, None, version, after.as_ref()).unwrap();
        objects.map(|object| object.read()).collect()
    }

    fn names(objects: &[Arc<Value>]) -> Vec<&str> {
        objects.iter().map(|object| object::name(object)).collect()
    }

    #[test]
    fn objects_can_be_listed_at_an_earlier_version() {
        let mut store = ObjectStore::new(IdGenerator::new(1));
        store.put(&NODES, node("a", "red"));
        store.put(&NODES, node("b", "red"));
        let then = store.version();
        store.put(&NODES, node("a", "blue"));
        store.put(&PODS, node("p", "red"));
        store.delete(&NODES, "", "b");
        store.put(&NODES, node("c", "red"));
        let past = listed(&store, then, None);
        assert_eq!(names(&past), ["a", "b"]);
        assert_eq!(names(&listed(&store, then, Some("a"))), ["b"]);
        assert_eq!(names(&listed(&store, store.version(), Some("a"))), ["c"]);
        assert_eq!(past[0]["metadata"]["labels"]["color"], "red");
        let present = listed(&store, store.version(), None);
        assert_eq!(names(&present), ["a", "c"]);
    }

    #[test]
    fn an_event_is_the_same_after_it_was_kept_as_text() {
        let mut store = ObjectStore::new(IdGenerator::new(1));
        let event = |name: &str, reason: &str| {
            let about = json!({"uid": "pod"});
            json!({"metadata": {"name": name}, "involvedObject": about, "reason": reason})
        };
        let put = store.put(&EVENTS, event("a", "Started"));
        assert_eq!(store.read(&EVENTS, "", "a"), Some(put));
        store.put(&EVENTS, event("b", "Started"));
        store.put(&EVENTS, event("c", "Failed"));
        let found = |store: &ObjectStore, reason: &str| {
            let about = index::event_subject("pod", reason);
            let found = store.read_found(Index::Subject, &about);
            found.map(|event| object::name(&event).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(&store, "Started"), ["a", "b"]);
        assert_eq!(found(&store, "Failed"), ["c"]);
        let changed = store.put(&EVENTS, event("c", "Started"));
        assert_eq!(store.delete(&EVENTS, "", "a").unwrap()["reason"], "Started");
        assert_eq!(found(&store, "Started"), ["b", "c"]);
        assert_eq!(found(&store, "Failed"), [""; 0]);
        assert_eq!(store.read_all(&EVENTS, None).last(), Some(changed));
        let is_whole =
            |kept: &KeptObject| matches!(kept, KeptObject::Text(_, whole) if whole.get().is_some());
        assert!(!store.objects[&EVENTS.key()].values().any(is_whole));
        store.delete(&EVENTS, "", "b");
        store.delete(&EVENTS, "", "c");
        assert!(store.indexes.is_empty());
    }

    #[test]
    fn a_compacted_version_is_rejected() {
        let mut store = ObjectStore::new(IdGenerator::new(1));
        store.put(&NODES, node("a", "red"));
        let then = store.version();
        store.put(&NODES, node("a", "blue"));
        assert_eq!(store.since(then).unwrap().count(), 1);
        store.compact();
        assert!(store.since(then).is_err());
        assert_eq!(store.since(store.version()).unwrap().count(), 0);
    }
}
