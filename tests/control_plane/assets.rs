//! The programs of a control plane: where they are, or why there are none.

use std::path::{Path, PathBuf};

/// Names the folder that has the programs, for whoever does not want to build them.
const OVERRIDE: &str = "SOP_CONTROL_PLANE_ASSETS";

/// The same in the words of the Kubernetes projects' own test suites; taken when everything needed is in it.
const KUBEBUILDER: &str = "KUBEBUILDER_ASSETS";

/// What the tests start.
const PROGRAMS: [&str; 5] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];

/// What `build.sh` builds from; it leaves a copy beside what it has built.
const MODULES: &str = concat!(
    include_str!("go.mod"),
    include_str!("go.sum"),
    include_str!("kwok/go.mod"),
    include_str!("kwok/go.sum"),
);

/// A folder that has all five programs.
#[derive(Debug, Clone)]
pub(crate) struct Assets {
    dir: PathBuf,
}

impl Assets {
    /// Looks for the programs.
    ///
    /// # Errors
    /// Why there are none, as the reason for which tests are ignored.
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

    /// What `build.sh` has built.
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

/// The folder in which what the tests need is built or installed.
pub(crate) fn cache(what: &str) -> PathBuf {
    let cache = path_from_env("SOP_CI_CACHE").unwrap_or_else(|| {
        let home = || path_from_env("HOME").unwrap_or_default().join(".cache");
        path_from_env("XDG_CACHE_HOME").unwrap_or_else(home).join(Path::new("rafay-relay-sop"))
    });
    cache.join(what)
}
