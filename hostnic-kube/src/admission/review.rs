//! `AdmissionReview` of `admission.k8s.io/v1`: what the API server asks, and what it is answered.
//!
//! Only what is needed of it is read. kube's own types would read each object twice and bring JSON patches along, which only
//! webhooks that change objects need.

use serde::Deserialize;
use serde_json::{Value, json};

use super::rules::Verdict;

/// What is asked. `O` is read of the object: with `IgnoredAny` nothing is, and nothing is kept.
#[derive(Debug, Deserialize)]
pub(super) struct Review<O> {
    pub(super) request: Request<O>,
}

/// A change that somebody wants to make.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<O> {
    /// By which the answer is known.
    pub(super) uid: String,
    pub(super) resource: Resource,
    #[serde(default)]
    pub(super) sub_resource: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) namespace: Option<String>,
    pub(super) operation: Operation,
    pub(super) user_info: User,
    #[serde(default = "none")]
    pub(super) object: Option<O>,
    #[serde(default = "none")]
    pub(super) old_object: Option<O>,
    #[serde(default)]
    options: Option<Options>,
}

/// How a change is to be made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    #[serde(default)]
    propagation_policy: Option<String>,
}

impl<O> Request<O> {
    /// Whether an object is to be removed after all that belongs to it.
    pub(super) fn is_last(&self) -> bool {
        let policy = self.options.as_ref().and_then(|options| options.propagation_policy.as_deref());
        self.operation == Operation::Delete && policy == Some("Foreground")
    }
}

fn none<O>() -> Option<O> {
    None
}

#[derive(Debug, Deserialize)]
pub(super) struct Resource {
    #[serde(default)]
    pub(super) group: String,
    pub(super) resource: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub(super) username: String,
}

/// The answer to the review of this uid.
pub(super) fn answer(uid: &str, verdict: &Verdict) -> Value {
    let mut response = json!({ "uid": uid, "allowed": verdict.is_allowed() });
    if !verdict.is_allowed() {
        response["status"] = json!({
            "status": "Failure", "reason": "Invalid", "code": 422, "message": verdict.message(),
        });
    }
    if !verdict.warnings.is_empty() {
        response["warnings"] = verdict.warnings.clone().into();
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn an_object_is_removed_last_where_its_belongings_are_to_go_in_the_foreground() {
        let is_last = |operation: &str, options: Value| {
            let request = json!({
                "uid": "u1", "operation": operation, "resource": { "group": "", "resource": "ippools" },
                "userInfo": {}, "options": options,
            });
            serde_json::from_value::<Request<Value>>(request).unwrap().is_last()
        };
        let with = |policy: &str| json!({ "kind": "DeleteOptions", "propagationPolicy": policy });
        assert!(is_last("DELETE", with("Foreground")));
        assert!(!is_last("DELETE", with("Background")) && !is_last("DELETE", Value::Null));
        assert!(!is_last("UPDATE", with("Foreground")));
    }

    #[test]
    fn a_review_is_read_without_its_object_and_answered_by_its_uid() {
        let asked = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u1", "operation": "UPDATE", "name": "a", "namespace": "b", "dryRun": false,
                "resource": { "group": "", "version": "v1", "resource": "configmaps" },
                "userInfo": { "username": "somebody", "groups": ["g"] },
                "object": { "data": { "a": "b" } }, "oldObject": null, "options": null,
            },
        });
        let review: Review<IgnoredAny> = serde_json::from_value(asked).unwrap();
        assert_eq!(
            (review.request.operation, review.request.name.as_deref()),
            (Operation::Update, Some("a"))
        );
        let mut verdict = Verdict::about("ConfigMap b/a");
        verdict.warn("mind this");
        assert_eq!(
            answer("u1", &verdict)["response"],
            json!({ "uid": "u1", "allowed": true, "warnings": ["mind this"] })
        );
        verdict.deny("it is wrong");
        let told = answer("u1", &verdict);
        assert_eq!(told["response"]["allowed"], false);
        assert_eq!(told["response"]["status"]["message"], "ConfigMap b/a: it is wrong");
    }
}
