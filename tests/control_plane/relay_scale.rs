//! relay-scale from end to end: the program as its users start it, against the real control plane with the
//! simulator's account behind it, and against the simulator alone. Both must come to the same end, say the same and do
//! the same.

use std::sync::Arc;

use crate::{
    accounts::{Account, Grant},
    audit,
    fixture::ControlPlane,
    harness::{Test, test},
    outcome::{BOOK, Errand, NAMESPACE, Outcome, SPEED, over, rolled_back_book},
    same::same,
    support::{Program, effective},
};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(
            "relay_scale::is_the_same_on_a_real_control_plane",
            async |plane: Arc<ControlPlane>| {
                compare(&plane, &Errand::of(BOOK)).await;
            },
        ),
        test("relay_scale::is_the_same_by_factor_three", async |plane: Arc<ControlPlane>| {
            compare(&plane, &Errand::of(BOOK).with(&["--input", "scale_factor=3"])).await;
        }),
        test("relay_scale::is_rolled_back_as_in_the_simulator", rolled_back_alike),
        test("relay_scale::stops_without_its_permissions", stops_without_permissions),
        test("relay_scale::is_resumed_once_it_may_go_on", is_resumed_once_permitted),
    ]
}

async fn compare(plane: &ControlPlane, errand: &Errand) -> Outcome {
    let real = Outcome::real(plane, errand).await;
    let simulated = Outcome::simulated(errand).await;
    assert_eq!(real.denied, [""; 0], "the declared permissions suffice");
    same("what is said", &real.lines, &simulated.lines);
    same("what is done to the account", &real.account, &simulated.account);
    let counted = audit::counted;
    same("what is done to the cluster", &counted(&real.cluster), &counted(&simulated.cluster));
    same("the end", &real.after, &simulated.after);
    real
}

async fn rolled_back_alike(plane: Arc<ControlPlane>) {
    let errand = Errand::of(&rolled_back_book()).ending_with(1);
    let real = compare(&plane, &errand).await;
    // A restart cannot be undone, which the run says beforehand.
    let restarted = |facts: &[String]| -> Vec<String> {
        facts.iter().map(|fact| fact.replace("restarted=false", "restarted=true")).collect()
    };
    same("what was before", &restarted(&real.before), &restarted(&real.after));
}

async fn stops_without_permissions(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate = over(&plane);
    let account = Account::new(&plane, NAMESPACE, "nobody", Grant::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Errand::of(BOOK).command(&simulate, folder.path());
    let ended = Program::beside(command.env("KUBECONFIG", &account.kubeconfig)).await.ends_with(1);
    assert!(ended.stdout.contains("forbidden"), "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(effective(&simulate.calls().await), [""; 0]);
}

/// Somebody has forgotten one verb, and it comes to light where there is no way back any more.
async fn is_resumed_once_permitted(plane: Arc<ControlPlane>) {
    plane.namespace(NAMESPACE).await;
    let simulate = over(&plane);
    let lacking = Grant::for_runbook(BOOK).without("delete", "pods");
    let account = Account::new(&plane, NAMESPACE, "relay-sop", lacking).await;
    let folder = tempfile::tempdir().unwrap();
    let errand = Errand::of(BOOK);
    let mut command = errand.command(&simulate, folder.path());
    let stopped = Program::beside(command.env("KUBECONFIG", &account.kubeconfig)).await;
    let stopped = stopped.ends_with(4);
    let words = [r#"cannot delete resource "pods""#, "runs resume "];
    for words in words {
        assert!(stopped.stderr.contains(words), "{}", stopped.stderr);
    }
    let before = effective(&simulate.calls().await);

    account.regrant(&plane, Grant::for_runbook(BOOK), ("delete", "pods")).await;
    let mut command = simulate.program(folder.path());
    command.env("KUBECONFIG", &account.kubeconfig);
    command.args(["runs", "resume", "--last", "--yes", "--speed", SPEED]);
    let resumed = Program::beside(&mut command).await.ends_with(0);
    let done_again = "Starting step: Scale nodegroup to 2X its current count";
    assert!(!resumed.stdout.contains(done_again), "{}", resumed.stdout);
    let protections = ["autoscaling:SetInstanceProtection"; 2];
    assert_eq!(effective(&simulate.calls().await)[before.len()..], protections);
    plane.until_ready(NAMESPACE, "rafay-relay", 3).await;
}
