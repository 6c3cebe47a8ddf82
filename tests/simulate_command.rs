//! `simulate -- COMMAND`: the command acts on the simulated cluster and on no other, whatever the caller's shell names.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use test_support::{ProgramOutput, program, program_path, signal, wait_until};

/// `simulate -- sh -c SCRIPT`.
fn simulate(script: &str) -> Command {
    let mut command = program();
    command.args(["simulate", "--speed", "600", "--", "sh", "-c", script]);
    command
}

fn run(script: &str) -> ProgramOutput {
    ProgramOutput::run(&mut simulate(script))
}

#[test]
fn a_command_has_the_whole_environment_when_it_starts() {
    let names = [
        "KUBECONFIG",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "SOP_STATE_DIR",
        "SOP_SPEED",
    ];
    let tests = names.map(|name| format!(r#"test -n "${name}" || exit 9; "#)).concat();
    run(&format!(r#"{tests} test -s "$KUBECONFIG" && test -d "$SOP_STATE_DIR""#))
        .expect_exit_code(0);
}

#[test]
fn the_program_runs_a_runbook_on_the_simulated_cluster() {
    let ended = run("rafay-relay-sop run relay-scale --yes && rafay-relay-sop runs list");
    let ended = ended.expect_exit_code(0);
    assert!(ended.stdout.contains("] Succeeded\n"), "{}", ended.stdout);
    assert!(ended.stdout.trim_end().ends_with("  succeeded"), "{}", ended.stdout);
}

/// The caller's shell names another cluster, account and endpoint in each way that it can.
#[test]
fn variables_of_the_callers_shell_lead_nowhere_else() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let profile = "[default]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:1\n";
    std::fs::write(home.path().join(".aws/config"), profile).unwrap();
    let elsewhere = [
        ("KUBECONFIG", "/nonexistent/production"),
        ("AWS_PROFILE", "production"),
        ("AWS_SESSION_TOKEN", "production"),
        ("AWS_ENDPOINT_URL_EKS", "http://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
        ("SOP_SCENARIO", "/nonexistent"),
        ("SOP_STATE_DIR", "/nonexistent/production"),
        ("SOP_STORE", "cluster"),
        ("SOP_STORE_NAMESPACE", "production"),
    ];
    let script = "env; rafay-relay-sop run relay-scale --yes";
    let mut command = simulate(script);
    command.envs(elsewhere).env("HOME", home.path());
    let ended = ProgramOutput::run(&mut command).expect_exit_code(0);
    assert!(ended.stdout.contains("] Succeeded\n"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("production"), "{}", ended.stdout);
}

/// An address of no interface is nothing that a client could call.
#[test]
fn a_simulator_on_all_addresses_is_called_on_this_machine() {
    let mut command = program();
    command.args(["simulate", "--aws-listen", ":0", "--kubernetes-listen", "0.0.0.0:0"]);
    command.args(["--", "sh", "-c", r#"echo "$AWS_ENDPOINT_URL"; grep server: "$KUBECONFIG""#]);
    let ended = ProgramOutput::run(&mut command).expect_exit_code(0);
    let [aws, kubernetes] = ended.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", ended.stdout)
    };
    assert!(aws.starts_with("http://[::1]:") || aws.starts_with("http://127.0.0.1:"), "{aws}");
    assert!(kubernetes.contains("http://127.0.0.1:"), "{kubernetes}");
}

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    run("exit 7").expect_exit_code(7);
    run("kill -s TERM $$").expect_exit_code(143);
    let mut command = program();
    command.args(["simulate", "--", "/nonexistent/program"]);
    let ended = ProgramOutput::run(&mut command).expect_exit_code(2);
    assert!(
        ended.stderr.starts_with("error: cannot run /nonexistent/program: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_simulator_ends_with_its_command() {
    let ended = run(r#"echo "$KUBECONFIG $SOP_STATE_DIR $AWS_ENDPOINT_URL""#).expect_exit_code(0);
    let words: Vec<&str> = ended.stdout.split_whitespace().collect();
    let [kubeconfig, state_dir, url] = words[..] else { panic!("{words:?}") };
    assert!(!Path::new(kubeconfig).exists(), "{kubeconfig}");
    assert!(!Path::new(state_dir).exists(), "{state_dir}");
    let address = url.strip_prefix("http://").unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "{address} is still served");
}

#[test]
fn a_state_directory_that_was_named_keeps_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let mut command = program();
    command.arg("--state-dir").arg(&kept).args(["simulate", "--speed", "600", "--"]);
    command.args(["rafay-relay-sop", "run", "relay-scale", "--yes"]);
    ProgramOutput::run(&mut command).expect_exit_code(0);
    let mut show = program();
    show.arg("--state-dir").arg(&kept).args(["runs", "show", "--last"]);
    let shown = ProgramOutput::run(&mut show).expect_exit_code(0).stdout;
    assert!(shown.contains("relay-scale"), "{shown}");
}

/// Without a terminal, a signal reaches the command only through the simulator's process.
#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_command() {
    for name in ["TERM", "INT", "HUP", "USR1"] {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        let script = format!(
            "trap 'exit 42' {name}; : > '{}'; while :; do sleep 0.05; done",
            ready.display()
        );
        let mut command = simulate(&script);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("the trap of the command", || ready.exists().then_some(())).await;
        signal(child.id(), name);
        ProgramOutput::from(child.wait_with_output().unwrap()).expect_exit_code(42);
    }
}

/// What is typed at a terminal reaches the command once: twice would end a run at once that was to be cancelled.
#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_at_a_terminal_reaches_the_command_once() {
    // The process group of the script is the foreground one of the terminal that `script` makes. A signal that was sent
    // on would arrive before the second one, which ends the wait.
    let commands = "trap 'echo caught' INT; trap ended=1 USR1; kill -s INT 0; kill -s USR1 $PPID; \
                    until test -n \"$ended\"; do sleep 0.01; done";
    let call = format!(
        "exec {} simulate --speed 600 -- sh -c {}",
        program_path().display(),
        shell_quoted(commands)
    );
    let mut command = Command::new("script");
    command.args(["-qec", &call, "/dev/null"]).stdin(Stdio::null());
    let ended = ProgramOutput::run(&mut command).expect_exit_code(0);
    assert_eq!(ended.stdout.matches("caught").count(), 1, "{}", ended.stdout);
}

fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[test]
fn a_simulated_run_can_be_kept_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program();
    command.arg("--state-dir").arg(dir.path());
    command.args(["run", "relay-scale", "--simulate", "--speed", "600"]);
    ProgramOutput::run(&mut command).expect_exit_code(0);
    let mut show = program();
    show.arg("--state-dir").arg(dir.path()).args(["runs", "show", "--last"]);
    let shown = ProgramOutput::run(&mut show).expect_exit_code(0).stdout;
    assert!(shown.contains("succeeded"), "{shown}");
}

#[test]
fn a_printed_scenario_can_be_edited_and_fed_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.yaml");
    let print = |arguments: &[&str]| {
        let mut command = program();
        command.args(["simulate", "--print-scenario"]).args(arguments);
        ProgramOutput::run(&mut command).expect_exit_code(0).stdout
    };
    let printed = print(&[]);
    std::fs::write(&file, printed.replace("name: rafay-sentry", "name: other-sentry")).unwrap();
    let again = print(&["--scenario", file.to_str().unwrap()]);
    assert!(again.contains("name: other-sentry"), "{again}");
    assert_eq!(again.replace("name: other-sentry", "name: rafay-sentry"), printed);
}

/// `kubectl create` sends protobuf. Where there is no kubectl, only the decoder's own tests hold this.
#[test]
fn kubectl_creates_and_explains_the_kinds_of_the_simulator() {
    let path = std::env::var_os("PATH").unwrap();
    if !std::env::split_paths(&path).any(|dir| dir.join("kubectl").is_file()) {
        return;
    }
    let script = "set -e
        kubectl create namespace team
        kubectl create deployment web --image=nginx:1 --replicas=2 -n team
        kubectl create configmap settings --from-literal=a=b
        kubectl create secret generic key --from-literal=a=b
        kubectl create serviceaccount robot
        kubectl create service clusterip web --tcp=80:8080
        kubectl create quota pods --hard=pods=3
        kubectl create poddisruptionbudget web --selector=app=web --min-available=50%
        kubectl rollout status deployment/web -n team --timeout=60s
        test \"$(kubectl get secret key -o 'jsonpath={.data.a}')\" = Yg==
        kubectl auth can-i delete pods
        kubectl auth can-i --list
        kubectl explain deployment.spec.strategy.rollingUpdate
        kubectl explain pod.spec.volumes.configMap.name
        kubectl get events -n team";
    let ended = run(script).expect_exit_code(0);
    for part in ["maxSurge", "ScalingReplicaSet", "Scaled up replica set web-"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
}

/// A policy of which the AWS half allows only what it says, and roles from a manifest with their binding.
#[test]
fn a_policy_and_roles_from_files_restrict_the_clients() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.json");
    let roles = dir.path().join("roles.yaml");
    let statement = r#"{"Effect": "Allow", "Action": "eks:*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}}"#;
    std::fs::write(&policy, format!(r#"{{"Version": "2012-10-17", "Statement": {statement}}}"#))
        .unwrap();
    let allowing_all = "rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]";
    let manifest = format!(
        "kind: ClusterRole\nmetadata: {{name: all}}\n{allowing_all}\n---\nkind: ClusterRoleBinding\n\
         metadata: {{name: bound}}\n---\n"
    );
    std::fs::write(&roles, manifest).unwrap();
    let with_files = |script: &str| {
        let mut command = program();
        command.args(["simulate", "--speed", "600", "--iam-policy"]).arg(&policy);
        command.arg("--roles").arg(&roles).args(["--", "sh", "-c", script]);
        ProgramOutput::run(&mut command)
    };
    // The configuration is read, so the roles allow that. The nodegroups are in another region than the policy allows.
    let ended = with_files("rafay-relay-sop run relay-scale --yes --no-permission-check")
        .expect_exit_code(3);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("not authorized to perform: eks:"), "{said}");
    let ignored = format!(
        "ignored in {}, because only roles count: ClusterRoleBinding bound\n",
        roles.display()
    );
    assert!(ended.stderr.contains(&ignored), "{}", ended.stderr);

    std::fs::write(&policy, statement.replace("Condition", "NotResource")).unwrap();
    let refused = with_files("true").stderr;
    assert!(refused.contains("missing field `Statement`"), "{refused}");
    let not_resource = statement.replace("Condition", "NotResource");
    std::fs::write(&policy, format!(r#"{{"Statement": {not_resource}}}"#)).unwrap();
    let refused = with_files("true").stderr;
    assert!(
        refused.contains("statement 1 of the IAM policy: unknown field `NotResource`"),
        "{refused}"
    );
}

/// Without a role or a statement, clients would be allowed everything.
#[test]
fn a_policy_file_without_a_policy_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file.yaml");
    for (flag, text, why) in [
        ("--iam-policy", "", "it has no policy document"),
        ("--iam-policy", "word", "not an IAM policy document"),
        ("--role", "kind: RoleBinding\nmetadata: {name: b}\n", "it has no Role or ClusterRole"),
        ("--role", "kind: RoleList\nitems: []\n", "it has no Role or ClusterRole"),
        ("--role", "word", "it has no Role or ClusterRole"),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut command = program();
        command.args(["simulate", flag]).arg(&file).args(["--", "true"]);
        let ended = ProgramOutput::run(&mut command);
        assert_ne!(ended.code, Some(0), "{flag} {text}");
        let expected = format!("cannot use the policy {}: {why}", file.display());
        assert!(ended.stderr.contains(&expected), "{flag} {text}: {}", ended.stderr);
    }
}
