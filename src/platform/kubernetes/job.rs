//! The state of a job.

use k8s_openapi::api::batch::v1::Job;

/// How a job has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// As many of its pods have succeeded as were to.
    Complete,
    /// The job has failed, for this reason.
    Failed(String),
}

/// Returns how a job has ended; none while it has not.
pub fn end(job: &Job) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let found = |kind: &str| {
        conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
    };
    if found("Complete").is_some() {
        return Some(JobEnd::Complete);
    }
    let failed = found("Failed")?;
    let parts = [failed.reason.as_deref(), failed.message.as_deref()];
    let texts: Vec<&str> = parts.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    Some(JobEnd::Failed(texts.join(": ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(conditions: serde_json::Value) -> Job {
        serde_json::from_value(json!({"metadata": {}, "status": {"conditions": conditions}}))
            .unwrap()
    }

    #[test]
    fn a_job_has_ended_when_a_condition_says_so() {
        assert_eq!(end(&Job::default()), None);
        let met = json!({"type": "SuccessCriteriaMet", "status": "True"});
        assert_eq!(end(&job(json!([met]))), None, "its pods are still ending");
        let complete = json!({"type": "Complete", "status": "True"});
        assert_eq!(end(&job(json!([met, complete]))), Some(JobEnd::Complete));
        let failed = json!({
            "type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long",
        });
        let why = "DeadlineExceeded: too long".to_owned();
        assert_eq!(end(&job(json!([failed]))), Some(JobEnd::Failed(why)));
    }
}
