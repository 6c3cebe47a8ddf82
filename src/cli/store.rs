//! Where runs are kept: in a state directory or in a cluster.

use std::{path::Path, sync::Arc};

use clap::ValueEnum;

use super::{CliError, Global, next_steps::quoted, state_dir::StateDir};
use crate::{
    cluster_store::ClusterStore,
    engine::StartError,
    journal::{DirectoryStore, LockOwner, RunId, RunStore, SharedStore as _, StoreError},
    lease::LeaseTimes,
    platform::Platform,
};

/// The file with the namespace of a pod's account. With `KUBERNETES_SERVICE_HOST` it says that this is a pod.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The kind of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StoreKind {
    /// Files in the state directory
    Directory,
    /// Objects in a namespace of the cluster; needs what `crds` prints
    Cluster,
}

/// The place where runs are kept.
pub(super) enum StorePlace {
    /// A state directory.
    Directory(StateDir),
    /// A namespace of a cluster.
    Cluster {
        /// The clients of the cluster.
        platform: Platform,
        /// The namespace, where it is named.
        namespace: Option<String>,
        /// How often a process that drives a run says so.
        times: LeaseTimes,
    },
}

/// A store that is open.
#[derive(Clone)]
pub(super) enum OpenStore {
    /// A state directory.
    Directory(Arc<DirectoryStore>),
    /// A namespace of a cluster.
    Cluster(Arc<ClusterStore>),
}

impl Global {
    /// Returns where runs are kept: where the command line says, else the environment, else in the cluster in a pod,
    /// else in a state directory. A simulated cluster ends with its process, and keeps none.
    pub(super) fn store_kind(&self, simulated: bool) -> Result<StoreKind, CliError> {
        self.store_kind_where(simulated, is_in_pod())
    }

    fn store_kind_where(&self, simulated: bool, is_in_pod: bool) -> Result<StoreKind, CliError> {
        let named = self.store.filter(|_| !self.inherits_store);
        let names_directory = self.state_dir.is_some() && !self.inherits_state_dir;
        if simulated && named == Some(StoreKind::Cluster) {
            return Err(CliError::usage_with_hint(
                "--store cluster: a simulated cluster ends with its process, and keeps no runs",
                "leave --store out; --state-dir DIR keeps the journal of a simulated run",
            ));
        }
        let kind = match (named, self.store) {
            (Some(kind), _) => kind,
            _ if simulated || names_directory => StoreKind::Directory,
            (None, Some(kind)) => kind,
            (None, None) if self.state_dir.is_none() && is_in_pod => StoreKind::Cluster,
            (None, None) => StoreKind::Directory,
        };
        let names_namespace = self.store_namespace.is_some() && !self.inherits_store_namespace;
        match kind {
            StoreKind::Cluster if names_directory => Err(CliError::usage_with_hint(
                "--state-dir names a directory, and the store is the cluster",
                "leave --state-dir out, or pass --store directory",
            )),
            StoreKind::Directory if names_namespace => Err(CliError::usage_with_hint(
                "--store-namespace names a namespace, and the store is a directory",
                "leave it out, or pass --store cluster",
            )),
            kind => Ok(kind),
        }
    }

    /// Returns the place where runs are kept. `platform` makes the clients of the cluster; `times` are those of its
    /// lease.
    pub(super) fn store_place(
        &self,
        simulated: bool,
        times: LeaseTimes,
        platform: impl FnOnce() -> Platform,
    ) -> Result<StorePlace, CliError> {
        Ok(match self.store_kind(simulated)? {
            StoreKind::Directory => StorePlace::Directory(StateDir::choose(self, simulated)?),
            StoreKind::Cluster => StorePlace::Cluster {
                platform: platform(),
                namespace: self.store_namespace.clone(),
                times,
            },
        })
    }

    /// Returns the flags that name the store, as they can be typed again.
    pub(super) fn store_flags(&self) -> String {
        if let Ok(StoreKind::Cluster) = self.store_kind(false) {
            let namespace = self.store_namespace.as_ref();
            let namespace = namespace
                .map(|name| format!(" --store-namespace {}", quoted(name)))
                .unwrap_or_default();
            return format!(" --store cluster{namespace}");
        }
        let directory = self.state_dir.as_ref();
        directory
            .map(|path| format!(" --state-dir {}", quoted(&path.to_string_lossy())))
            .unwrap_or_default()
    }
}

fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(POD_NAMESPACE).exists()
}

impl StorePlace {
    /// Takes the right to write here for this process, or finds out what is missing for that.
    pub(super) async fn open_for_writing(
        &self,
        doing: &str,
        address: Option<String>,
    ) -> Result<OpenStore, CliError> {
        Ok(match self {
            Self::Directory(state_dir) => {
                OpenStore::Directory(state_dir.open_for_writing(doing, address)?)
            }
            Self::Cluster { platform, namespace, times } => {
                let namespace = namespace.as_deref();
                let store = ClusterStore::for_writing(platform, namespace, address, *times).await;
                let store = store.map_err(StartError::from)?;
                store.ensure_usable().await?;
                OpenStore::Cluster(Arc::new(store))
            }
        })
    }

    /// Opens the store for reading.
    pub(super) async fn open_for_reading(&self) -> Result<OpenStore, CliError> {
        Ok(match self {
            Self::Directory(state_dir) => {
                OpenStore::Directory(Arc::new(state_dir.open_for_reading()))
            }
            Self::Cluster { platform, namespace, .. } => {
                let store = ClusterStore::for_reading(platform, namespace.as_deref()).await;
                OpenStore::Cluster(Arc::new(store.map_err(StartError::from)?))
            }
        })
    }
}

impl OpenStore {
    /// Returns the store as the engine uses it.
    pub(super) fn as_run_store(&self) -> Arc<dyn RunStore> {
        match self {
            Self::Directory(store) => Arc::<DirectoryStore>::clone(store),
            Self::Cluster(store) => Arc::<ClusterStore>::clone(store),
        }
    }

    /// Returns the kind of the store, in one word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::Cluster(_) => "cluster",
        }
    }

    /// Returns the process that alone writes to the store now, if there is one and it said who it is.
    pub(super) fn owner(&self) -> Option<LockOwner> {
        match self {
            Self::Directory(store) => store.owner(),
            Self::Cluster(_) => None,
        }
    }

    /// Writes no Kubernetes Events of runs from now on.
    pub(super) fn write_no_kubernetes_events(&self) {
        match self {
            Self::Directory(_) => {}
            Self::Cluster(store) => store.write_no_kubernetes_events(),
        }
    }

    /// Whether other processes may write to the store while this one has it open for writing.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Removes runs that are over, for good.
    pub(super) async fn remove(&self, runs: Vec<RunId>) -> Result<(), StoreError> {
        match self {
            Self::Directory(store) => store.remove(runs).await,
            Self::Cluster(store) => store.remove_runs(&runs).await.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::{Global, StoreKind};
    use crate::cli::{Cli, options};

    /// The global options, as they were given on the command line.
    fn global(arguments: &[&str]) -> Global {
        let arguments = ["rafay-relay-sop"].iter().chain(arguments).chain(&["runs", "list"]);
        let matches = options::command().try_get_matches_from(arguments).unwrap();
        Cli::from_arg_matches(&matches).unwrap().global
    }

    fn kind(global: &Global, simulated: bool, is_in_pod: bool) -> Option<StoreKind> {
        global.store_kind_where(simulated, is_in_pod).ok()
    }

    #[test]
    fn the_store_is_the_cluster_in_a_pod_and_where_it_is_named() {
        let (directory, cluster) = (Some(StoreKind::Directory), Some(StoreKind::Cluster));
        for (arguments, here, in_pod) in [
            (&[][..], directory, cluster),
            (&["--state-dir", "d"], directory, directory),
            (&["--store", "cluster"], cluster, cluster),
            (&["--store", "directory"], directory, directory),
            (&["--store", "cluster", "--store-namespace", "n"], cluster, cluster),
            (&["--store", "cluster", "--state-dir", "d"], None, None),
            (&["--store-namespace", "n"], None, cluster),
        ] {
            let global = global(arguments);
            let found = [false, true].map(|is_in_pod| kind(&global, false, is_in_pod));
            assert_eq!(found, [here, in_pod], "{arguments:?}");
        }
        assert_eq!(kind(&global(&[]), true, true), directory);
        assert_eq!(kind(&global(&["--store", "cluster"]), true, false), None);
    }

    #[test]
    fn the_command_line_goes_before_the_environment() {
        let (directory, cluster) = (Some(StoreKind::Directory), Some(StoreKind::Cluster));
        let store = global(&["--store", "cluster"]);
        let inherited = Global { inherits_store: true, ..store };
        assert_eq!(kind(&inherited, false, false), cluster);
        assert_eq!(kind(&inherited, true, false), directory, "a simulation");
        let both = Global { state_dir: Some("d".into()), ..inherited };
        assert_eq!(kind(&both, false, false), directory, "--state-dir");
        let both = Global { inherits_state_dir: true, inherits_store: false, ..both };
        assert_eq!(kind(&both, false, false), cluster, "--store");
        let directory_only = Global { store: None, ..both };
        assert_eq!(kind(&directory_only, false, true), directory, "SOP_STATE_DIR in a pod");
    }

    #[test]
    fn the_flags_of_the_store_can_be_typed_again() {
        let flags = |arguments: &[&str]| global(arguments).store_flags();
        assert_eq!(flags(&["--state-dir", "a b"]), " --state-dir 'a b'");
        let cluster = ["--store", "cluster", "--store-namespace", "sop"];
        assert_eq!(flags(&cluster), " --store cluster --store-namespace sop");
        assert_eq!(flags(&["--store", "directory"]), "");
    }
}
