//! How a plan is made: what can be read is read, the rest is rehearsed, and what speaks against the run is found.

use std::collections::BTreeMap;

use futures::future::join_all;
use jiff::Timestamp;
use url::Url;

use super::{
    build::{self, Rehearsals},
    findings::{self, evidence::Evidence},
    invented::Invented,
    model::{PLAN_FORMAT, Plan, Rehearsal},
    rehearsal::RehearsalRequest,
    world::{self, World},
};
use crate::{
    engine::{Engine, Preflight, digest},
    permissions::{self, RunbookContext},
};
use runbook::EvaluationScope;

/// The choices about a plan.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct PlanOptions {
    /// Whether the run is rehearsed.
    pub rehearse: bool,
    /// Answers to the questions of approvals, as texts.
    pub answers: BTreeMap<String, String>,
    /// Whether the run is rehearsed with short and with long durations too, to know how long it takes at least and at
    /// most.
    pub ranges: bool,
    /// Whether the permissions of the account are checked.
    pub check_permissions: bool,
    /// Whether it is checked that no other run holds the cluster, as the start of a run does.
    pub checks_start: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            rehearse: true,
            answers: BTreeMap::new(),
            ranges: true,
            check_permissions: false,
            checks_start: false,
        }
    }
}

/// Makes the plan of a run that was prepared. Nothing is changed.
pub async fn make(engine: &Engine, preflight: &Preflight, options: &PlanOptions) -> Plan {
    let made_at = engine.clock().now();
    let (checked, inputs) = (&preflight.checked, &preflight.inputs);
    let ahead = engine.read_ahead(checked, inputs).await;
    let scope = EvaluationScope::new(inputs);
    let needed = permissions::of_runbook(checked.runbook(), &scope, &RunbookContext::default());
    let mut world = match options.rehearse {
        true => {
            let read = world::read(engine.platform(), &ahead, &needed, options.ranges).await;
            read.map_err(|error| error.to_string())
        }
        false => Err("it was not asked for".to_owned()),
    };
    let rehearsed = match &mut world {
        Ok(world) => match world::not_copied(&needed).or_else(|| world.why_incomplete()) {
            None => {
                // What an action sees of this process, such as the region, it sees in the rehearsal too.
                let environment = engine.platform().environment();
                rehearse(preflight, world, options, made_at, environment).await
            }
            Some(reason) => Err(reason),
        },
        Err(reason) => Err(reason.clone()),
    };
    let (rehearsals, reason) = match rehearsed {
        Ok(rehearsals) => (Some(rehearsals), None),
        Err(reason) => (None, Some(reason)),
    };
    let invented = rehearsals.as_ref().map(|all| Invented::of(&all.typical)).unwrap_or_default();
    let world = world.ok();
    let steps = build::steps(checked, &ahead, rehearsals.as_ref(), &invented);
    let rehearsal = match (&rehearsals, &world) {
        (Some(rehearsals), Some(world)) => {
            rehearsals.summary(&invented, world.duration_sources.clone())
        }
        _ => Rehearsal::NotDone { reason: reason.unwrap_or_default() },
    };
    let own_node = engine.platform().reader();
    let own_node = own_node.environment(crate::platform::NODE_NAME);
    let intended = findings::intended::intended(&needed, &steps);
    let intended: Vec<_> = intended.iter().map(|found| found.as_change()).collect();
    let evidence = Evidence::new(
        world.as_ref(),
        &steps,
        &rehearsal,
        rehearsals.as_ref().map(|all| &all.typical),
        own_node,
        &intended,
    );
    let mut findings = findings::all(&evidence);
    findings.extend(findings::of_warnings(&preflight.warnings));
    if options.check_permissions {
        findings.extend(findings::of_permissions(&engine.check_permissions(preflight).await));
    }
    let has_lock = options.checks_start && preflight.target.kubernetes.is_some();
    let holder = if has_lock { engine.run_that_holds_the_cluster().await } else { None };
    findings.extend(holder.map(|holder| findings::of_holder(&holder)));
    findings.sort_by_key(|finding| finding.severity);
    let gaps = world.as_ref().map(World::gaps).unwrap_or_default();
    let reads = world.as_ref().map(World::reads).unwrap_or_default();
    let mut digests = vec![(checked.runbook().name.clone(), digest(checked.source().text()))];
    for called in checked.runbook().called() {
        digests.push((called.runbook().name.clone(), digest(called.source().text())));
    }
    Plan {
        format: PLAN_FORMAT,
        runbook: checked.runbook().name.clone(),
        digests,
        inputs: inputs.clone(),
        answers: options.answers.clone(),
        target: preflight.target.clone(),
        made_at,
        steps,
        rehearsal,
        findings,
        gaps,
        reads,
        existing: world.as_ref().map(World::existing).unwrap_or_default(),
    }
}

/// Rehearses the run with each of the durations, at the same time.
async fn rehearse(
    preflight: &Preflight,
    world: &mut World,
    options: &PlanOptions,
    starts_at: Timestamp,
    environment: &BTreeMap<String, String>,
) -> Result<Rehearsals, String> {
    let endpoint = preflight.target.kubernetes.as_ref();
    let endpoint = endpoint.and_then(|kubernetes| Url::parse(&kubernetes.server).ok());
    // Each is as large as the cluster, and is not needed beside the simulator that begins with it.
    let typical = std::mem::take(&mut world.typical);
    let worlds = typical.into_iter().chain(std::mem::take(&mut world.others));
    let rehearsals = worlds.map(|scenario| {
        let request = RehearsalRequest {
            checked: preflight.checked.clone(),
            inputs: preflight.inputs.clone(),
            world: scenario,
            starts_at,
            endpoint: endpoint.clone(),
            answers: options.answers.clone(),
            environment: environment.clone(),
        };
        request.run()
    });
    let mut rehearsed = join_all(rehearsals).await.into_iter();
    let Some(typical) = rehearsed.next() else { return Err("nothing was rehearsed".into()) };
    let typical = typical.map_err(|error| error.to_string())?;
    // They only say how wide the range of durations is.
    Ok(Rehearsals { typical, others: rehearsed.filter_map(Result::ok).collect() })
}
