//! The programs of a control plane: how each is started, and on which ports.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
};

use crate::{assets::Assets, scratch_dir::ScratchDir};
use test_support::ChildGuard;

/// The command line of a program.
pub(crate) struct ProgramSpec {
    pub(crate) name: &'static str,
    command: Command,
}

/// Free ports, chosen all at once so that they differ.
pub(crate) struct Ports {
    etcd: u16,
    peers: u16,
    pub(crate) api: u16,
}

impl ProgramSpec {
    pub(crate) fn start(&self, scratch_dir: &ScratchDir) -> io::Result<ChildGuard> {
        ChildGuard::start(&self.command, &scratch_dir.log(self.name))
    }
}

impl Ports {
    pub(crate) fn choose() -> io::Result<Self> {
        let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (etcd, peers, api) = (any()?, any()?, any()?);
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        Ok(Self { etcd: port(&etcd)?, peers: port(&peers)?, api: port(&api)? })
    }

    pub(crate) fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd)
    }
}

/// All programs, in the order in which they are started: the store, the API server, and those that need it.
pub(crate) fn program_specs(assets: &Assets, dir: &Path, ports: &Ports) -> Vec<ProgramSpec> {
    let at = |name: &str| dir.join(name).display().to_string();
    let etcd = ports.etcd_url();
    let peers = format!("http://127.0.0.1:{}", ports.peers);
    let spec = |name: &'static str, arguments: Vec<String>| {
        let mut command = Command::new(assets.program(name));
        command.args(arguments);
        ProgramSpec { name, command }
    };
    let config = |flag: &str| format!("--{flag}={}", at("kubeconfig"));
    // One key does for serving and for signing tokens, so that none has to be made here.
    let key = at("certs/apiserver.key");
    vec![
        spec(
            "etcd",
            vec![
                format!("--data-dir={}", at("etcd")),
                format!("--listen-client-urls={etcd}"),
                format!("--advertise-client-urls={etcd}"),
                format!("--listen-peer-urls={peers}"),
                "--unsafe-no-fsync".into(),
            ],
        ),
        spec(
            "kube-apiserver",
            vec![
                format!("--etcd-servers={etcd}"),
                format!("--secure-port={}", ports.api),
                "--bind-address=127.0.0.1".into(),
                format!("--cert-dir={}", at("certs")),
                format!("--service-account-key-file={key}"),
                format!("--service-account-signing-key-file={key}"),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                "--service-cluster-ip-range=10.0.0.0/24".into(),
                "--authorization-mode=Node,RBAC".into(),
                format!("--token-auth-file={}", at("tokens.csv")),
                format!("--audit-policy-file={}", at("audit-policy.yaml")),
                format!("--audit-log-path={}", at("log/audit.log")),
                // Watches end within one to two minutes of a test, as they do on a real cluster within the hour.
                "--min-request-timeout=60".into(),
                "--profiling=false".into(),
            ],
        ),
        spec(
            "kube-controller-manager",
            vec![
                config("kubeconfig"),
                config("authentication-kubeconfig"),
                config("authorization-kubeconfig"),
                "--leader-elect=false".into(),
                "--secure-port=0".into(),
                "--use-service-account-credentials=false".into(),
                format!("--service-account-private-key-file={key}"),
                format!("--root-ca-file={}", at("certs/apiserver.crt")),
            ],
        ),
        spec(
            "kube-scheduler",
            vec![
                config("kubeconfig"),
                config("authentication-kubeconfig"),
                config("authorization-kubeconfig"),
                "--leader-elect=false".into(),
                "--secure-port=0".into(),
            ],
        ),
        spec(
            "kwok",
            vec![
                config("kubeconfig"),
                "--manage-all-nodes=false".into(),
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake".into(),
                "--server-address=127.0.0.1:0".into(),
                format!("--config={}", at("stages.yaml")),
                "--node-lease-duration-seconds=40".into(),
            ],
        ),
    ]
}
