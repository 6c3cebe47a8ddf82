//! The programs of a control plane: where they are, or why there are none.

use std::path::{Path, PathBuf};

/// The variable that names a directory with the programs, so that they need not be built.
const OVERRIDE: &str = "SOP_CONTROL_PLANE_ASSETS";

/// The variable of the same purpose in the test suites of Kubernetes projects. Its directory is used if it is complete.
const KUBEBUILDER: &str = "KUBEBUILDER_ASSETS";

/// The programs that the tests start.
const PROGRAMS: [&str; 5] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];

/// The module files from which `build.sh` builds; it keeps a copy beside the programs.
const MODULES: &str = concat!(
    include_str!("go.mod"),
    include_str!("go.sum"),
    include_str!("kwok/go.mod"),
    include_str!("kwok/go.sum"),
);

/// The module files from which `build.sh` builds kubectl.
const KUBECTL_MODULES: &str =
    concat!(include_str!("kubectl/go.mod"), include_str!("kubectl/go.sum"));

/// A directory that has all five programs.
#[derive(Debug, Clone)]
pub(crate) struct Assets {
    dir: PathBuf,
}

impl Assets {
    /// Finds the programs.
    ///
    /// # Errors
    /// The programs were not found; the message is the reason why tests are ignored.
    pub(crate) fn find() -> Result<Self, String> {
        if let Some(dir) = path_from_env(OVERRIDE) {
            return Self::at(dir).map_err(|lacking| format!("{OVERRIDE}: {lacking}"));
        }
        let not_taken = match path_from_env(KUBEBUILDER).map(Self::at) {
            Some(Ok(assets)) => return Ok(assets),
            Some(Err(lacking)) => format!(" ({KUBEBUILDER} is not taken: {lacking})"),
            None => String::new(),
        };
        Self::built().map_err(|why| format!("{why}{not_taken}"))
    }

    /// Returns the programs that `build.sh` has built.
    fn built() -> Result<Self, String> {
        let dir = cache("control-plane");
        let built = std::fs::read_to_string(dir.join("modules"));
        let how = "tests/control_plane/build.sh builds one";
        match built {
            Err(_) => Err(format!("no control plane in {}: {how}", dir.display())),
            Ok(modules) if modules != MODULES => {
                Err(format!("the control plane in {} is of other versions: {how}", dir.display()))
            }
            Ok(_) => Self::at(dir).map_err(|lacking| format!("{lacking}: {how}")),
        }
    }

    /// Finds kubectl, which is beside the other programs.
    ///
    /// # Errors
    /// kubectl was not found; the message is the reason why tests are ignored.
    pub(crate) fn kubectl() -> Result<PathBuf, String> {
        let dir = Self::find()?.dir;
        let how = "tests/control_plane/build.sh builds one";
        let built = std::fs::read_to_string(dir.join("kubectl-modules"));
        let is_of_others =
            dir == cache("control-plane") && built.ok().as_deref() != Some(KUBECTL_MODULES);
        let kubectl = dir.join("kubectl");
        match kubectl.is_file() && !is_of_others {
            true => Ok(kubectl),
            false => Err(format!("{} has no kubectl of this version: {how}", dir.display())),
        }
    }

    fn at(dir: PathBuf) -> Result<Self, String> {
        let lacking: Vec<&str> =
            PROGRAMS.into_iter().filter(|program| !dir.join(program).is_file()).collect();
        if lacking.is_empty() {
            Ok(Self { dir })
        } else {
            Err(format!("{} has no {}", dir.display(), lacking.join(", ")))
        }
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

pub(crate) fn path_from_env(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns the cache directory in which a part of the test environment is built or installed.
pub(crate) fn cache(what: &str) -> PathBuf {
    let cache = path_from_env("SOP_CI_CACHE").unwrap_or_else(|| {
        let home = || path_from_env("HOME").unwrap_or_default().join(".cache");
        path_from_env("XDG_CACHE_HOME").unwrap_or_else(home).join(Path::new("rafay-relay-sop"))
    });
    cache.join(what)
}
