//! A real control plane on loopback: etcd, kube-apiserver (RBAC on, `ServiceAccount` tokens, an audit log),
//! kube-controller-manager, kube-scheduler, and kwok in the place of the kubelets.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client, config::KubeConfigOptions, config::Kubeconfig};

use crate::{
    assets::Assets,
    cluster::wait_until,
    environment::{Service, Slot, TestEnvironment},
    load_balancer::LoadBalancer,
    programs::{Ports, ProgramSpec, program_specs},
    scratch_dir::ScratchDir,
    startup,
};
use test_support::ChildGuard;

/// A running control plane. It ends with this value, and with this process.
pub(crate) struct ControlPlane {
    pub(crate) client: Client,
    /// The address at which the accounts of the tests reach the API server.
    pub(crate) load_balancer: LoadBalancer,
    etcd_url: String,
    program_specs: Vec<ProgramSpec>,
    programs: Mutex<Vec<(&'static str, ChildGuard)>>,
    // Last, so that it goes after those who write into it.
    scratch_dir: Arc<ScratchDir>,
}

impl Service for ControlPlane {
    const NAME: &'static str = "the control plane";
    const DIR_PREFIX: &'static str = "control-plane-";
    type Assets = Assets;

    fn slot(environment: &TestEnvironment) -> &Slot<Self> {
        &environment.plane
    }

    fn find() -> Result<Assets, String> {
        Assets::find()
    }

    async fn start_once(assets: &Assets, scratch_dir: Arc<ScratchDir>) -> Result<Self, String> {
        let describe_error = |why: io::Error| format!("cannot start a control plane: {why}");
        let dir = scratch_dir.path();
        let ports = Ports::choose().map_err(describe_error)?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        write_config_files(dir, &ports, &token).map_err(describe_error)?;
        let program_specs = program_specs(assets, dir, &ports);
        let mut started = StartedPrograms { scratch_dir: &scratch_dir, programs: Vec::new() };
        started.add(&program_specs[0])?;
        started.add(&program_specs[1])?;
        let certificate = dir.join("certs/apiserver.crt");
        started.wait_until("the API server's certificate", async || certificate.is_file()).await?;
        let client = client(&dir.join("kubeconfig")).await?;
        started.wait_until("the API server", async || ready(&client).await).await?;
        for spec in &program_specs[2..] {
            started.add(spec)?;
        }
        // The controller manager makes it.
        started
            .wait_until("the controllers", async || has_default_account(&client, "default").await)
            .await?;
        let programs = Mutex::new(started.programs);
        let load_balancer = LoadBalancer::start(ports.api).await.map_err(describe_error)?;
        let etcd_url = ports.etcd_url();
        Ok(Self { client, load_balancer, etcd_url, program_specs, programs, scratch_dir })
    }

    fn crashed(&self) -> Option<String> {
        let mut programs = self.programs.lock().expect("no holder panics");
        programs.iter_mut().find_map(|(name, program)| match program.try_wait() {
            Ok(None) => None,
            end => Some(self.scratch_dir.exit_message(name, &end)),
        })
    }

    async fn restore(&self) {
        let running = self.programs.lock().expect("no holder panics").len();
        if running < self.program_specs.len() {
            let stopped = self.stop_all_but_etcd();
            self.start_all(&stopped).await;
        }
        self.load_balancer.open();
    }

    fn scratch_dir(&self) -> &ScratchDir {
        &self.scratch_dir
    }
}

impl ControlPlane {
    /// Returns the kubeconfig file of a cluster administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.scratch_dir.path().join("kubeconfig")
    }

    /// The certificate by which the API server is recognized.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.scratch_dir.path().join("certs/apiserver.crt")
    }

    /// The audit log, one event a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.scratch_dir.path().join("log/audit.log")
    }

    /// Returns a directory for files of a test, which is removed with the control plane.
    pub(crate) fn test_dir(&self) -> PathBuf {
        self.scratch_dir.path().join("scratch")
    }

    /// Kills the API server, and starts it again on the same port after `absence`. No client reaches the server before
    /// it is ready, as behind a load balancer.
    pub(crate) async fn restart_api_server(&self, absence: Duration) {
        self.load_balancer.close();
        self.restart_api_server_exposed(absence).await;
        self.load_balancer.open();
    }

    /// Restarts the API server while the load balancer passes connections on: a server that has just started listens
    /// before it knows the roles, and refuses every client.
    pub(crate) async fn restart_api_server_exposed(&self, absence: Duration) {
        let stopped = self.stop_all_but_etcd();
        tokio::time::sleep(absence).await;
        self.start_all(&stopped).await;
    }

    /// Restarts the API server on a store whose revision has advanced and whose history has been compacted, so that a
    /// client that continues a watch gets status 410.
    pub(crate) async fn compact_history(&self) {
        self.load_balancer.close();
        let stopped = self.stop_all_but_etcd();
        // Any key does; what counts is the store's revision.
        let mut revision = 0;
        for _ in 0..10 {
            let put = serde_json::json!({"key": "anV0", "value": "anV0"});
            let answer = self.request_etcd("put", &put).await;
            let text = answer["header"]["revision"].as_str().expect("etcd numbers its answers");
            revision = text.parse::<i64>().expect("a revision is a number");
        }
        self.request_etcd(
            "compaction",
            &serde_json::json!({"revision": revision, "physical": true}),
        )
        .await;
        self.start_all(&stopped).await;
        self.load_balancer.open();
    }

    /// Stops every program but the store, and returns their names in the order in which they start.
    ///
    /// The controllers, the scheduler and kwok begin anew with the API server. Not each of them finds its way back after
    /// a restart, or lists every kind again after a compaction: nodes then stay silent or keep their taints for minutes,
    /// and it is not they that are tested.
    fn stop_all_but_etcd(&self) -> Vec<&'static str> {
        let names = self.program_specs.iter().map(|spec| spec.name).filter(|name| *name != "etcd");
        let names: Vec<_> = names.collect();
        names.iter().rev().for_each(|name| self.stop(name));
        names
    }

    /// Starts programs, the API server first.
    async fn start_all(&self, names: &[&'static str]) {
        self.start_again(names[0]);
        wait_until("the API server's return", async || ready(&self.client).await).await;
        // A new kwok waits until the leases of the one before have expired, and nodes would be silent for too long.
        let leases = kube::Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(
            self.client.clone(),
            "kube-node-lease",
        );
        let all = kube::api::ListParams::default();
        leases.delete_collection(&kube::api::DeleteParams::default(), &all).await.unwrap();
        names[1..].iter().for_each(|name| self.start_again(name));
    }

    /// Calls etcd through its JSON gateway.
    async fn request_etcd(&self, what: &str, request: &serde_json::Value) -> serde_json::Value {
        let url = format!("{}/v3/kv/{what}", self.etcd_url);
        let client = reqwest::Client::new();
        let answer = client.post(url).json(request).send().await.expect("etcd lives");
        answer.error_for_status().expect("etcd does it").json().await.expect("etcd speaks JSON")
    }

    fn stop(&self, name: &str) {
        let mut programs = self.programs.lock().expect("no holder panics");
        programs.retain(|(running, _)| *running != name);
    }

    fn start_again(&self, name: &str) {
        let spec = self.program_specs.iter().find(|one| one.name == name).unwrap();
        let started = spec.start(&self.scratch_dir).unwrap();
        self.programs.lock().expect("no holder panics").push((spec.name, started));
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // The API server goes before its store, or it fills the log with complaints.
        if let Ok(programs) = self.programs.get_mut() {
            while programs.pop().is_some() {}
        }
    }
}

/// The programs so far, while the rest is being started.
struct StartedPrograms<'a> {
    scratch_dir: &'a ScratchDir,
    programs: Vec<(&'static str, ChildGuard)>,
}

impl StartedPrograms<'_> {
    fn add(&mut self, spec: &ProgramSpec) -> Result<(), String> {
        let started = spec.start(self.scratch_dir);
        let started = started.map_err(|why| format!("cannot start {}: {why}", spec.name))?;
        self.programs.push((spec.name, started));
        Ok(())
    }

    /// Waits for a condition that the programs so far are to bring about.
    async fn wait_until(
        &mut self,
        what: &str,
        holds: impl AsyncFnMut() -> bool,
    ) -> Result<(), String> {
        startup::wait_until(what, || self.check_alive(), holds).await
    }

    fn check_alive(&mut self) -> Result<(), String> {
        for (name, program) in &mut self.programs {
            if !matches!(program.try_wait(), Ok(None)) {
                let log = self.scratch_dir.log_tail(name);
                return Err(format!("{name} ended at once: {log}"));
            }
        }
        Ok(())
    }
}

fn write_config_files(dir: &Path, ports: &Ports, token: &str) -> io::Result<()> {
    for part in ["certs", "scratch"] {
        fs::create_dir_all(dir.join(part))?;
    }
    fs::write(dir.join("tokens.csv"), format!("{token},admin,admin,system:masters\n"))?;
    fs::write(dir.join("stages.yaml"), include_str!("stages.yaml"))?;
    // Only what the ServiceAccounts of the tests do is of interest: a watch when it begins, all else when it is done.
    fs::write(
        dir.join("audit-policy.yaml"),
        "apiVersion: audit.k8s.io/v1\n\
         kind: Policy\n\
         omitStages: [RequestReceived]\n\
         rules:\n\
         - {level: Metadata, userGroups: ['system:serviceaccounts'], verbs: [watch], omitStages: [ResponseComplete]}\n\
         - {level: Metadata, userGroups: ['system:serviceaccounts'], omitStages: [ResponseStarted]}\n\
         - {level: None}\n",
    )?;
    // The API server signs its own certificate, and puts its authority's beside it in the same file.
    let url = format!("https://127.0.0.1:{}", ports.api);
    let certificate = dir.join("certs/apiserver.crt");
    fs::write(dir.join("kubeconfig"), kubeconfig(&url, &certificate, &format!("token: {token}")))
}

/// A kubeconfig of one context, for a user described by one line of YAML.
pub(crate) fn kubeconfig(url: &str, certificate: &Path, user: &str) -> String {
    let mut text = String::from("apiVersion: v1\nkind: Config\ncurrent-context: real\n");
    let certificate = certificate.display();
    let _ = writeln!(
        text,
        "clusters: [{{name: real, cluster: {{server: \"{url}\", certificate-authority: \"{certificate}\"}}}}]\n\
         users: [{{name: user, user: {{{user}}}}}]\n\
         contexts: [{{name: real, context: {{cluster: real, user: user}}}}]"
    );
    text
}

async fn client(kubeconfig: &Path) -> Result<Client, String> {
    let describe_error = |why: &dyn std::fmt::Display| format!("{}: {why}", kubeconfig.display());
    let config = Kubeconfig::read_from(kubeconfig).map_err(|why| describe_error(&why))?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .map_err(|why| describe_error(&why))?;
    // A test wants to see a refusal, not to have it repeated for minutes.
    config.default_retry = false;
    Client::try_from(config).map_err(|why| describe_error(&why))
}

async fn ready(client: &Client) -> bool {
    let request = axum::http::Request::get("/readyz").body(Vec::new()).expect("the path is one");
    client.request_text(request).await.is_ok()
}

/// Pods cannot be made in a namespace before this account is there.
pub(crate) async fn has_default_account(client: &Client, namespace: &str) -> bool {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    matches!(accounts.get_opt("default").await, Ok(Some(_)))
}
