//! Keeps the registrations true.

use std::collections::BTreeMap;

use hostnic_core::{Error, ErrorKind, Result};
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};

use super::{Conditions, NAMES, Wanted, webhooks};
use crate::admission::rules::config_map;
use crate::admission::{MANAGED_BY, MANAGER, PROBE, PROBED};
use crate::client::Asker;
use crate::error::{api_error, brief};
use crate::ipam::resources::{IpPool, IpPoolSpec};

/// Reads and writes the registrations. Each request has a deadline; dropping a future may leave its request done or not.
///
/// No webhook is asked about a change of a registration, so whatever they say, they can be changed.
#[derive(Clone)]
pub(in crate::admission) struct Registrar {
    asker: Asker,
}

impl Registrar {
    pub(in crate::admission) fn new(asker: Asker) -> Self {
        Self { asker }
    }

    fn api(&self) -> Api<ValidatingWebhookConfiguration> {
        Api::all(self.asker.client.clone())
    }

    async fn read(&self, name: &str) -> Result<Option<ValidatingWebhookConfiguration>> {
        let read = self.asker.ask(self.api().get_opt(name)).await;
        read.map_err(|error| failed("read", name, error))
    }

    /// Has no change wait for the webhooks or be refused for want of them. What is not there, or is not ours, stays as it is.
    ///
    /// # Errors
    /// Those of the API server; `Conflict` when somebody else changed a registration meanwhile.
    pub(in crate::admission) async fn relax(&self) -> Result<()> {
        for name in NAMES {
            let Some(mut present) = self.read(name).await?.filter(is_ours) else { continue };
            let mut is_strict = false;
            for webhook in present.webhooks.iter_mut().flatten() {
                is_strict |= webhook.failure_policy.as_deref() != Some("Ignore");
                webhook.failure_policy = Some("Ignore".to_owned());
            }
            if is_strict {
                let relaxed =
                    self.asker.ask(self.api().replace(name, &PostParams::default(), &present)).await;
                relaxed.map_err(|error| failed("change", name, error))?;
                tracing::info!(name, "changes are made whether or not the webhook answers");
            }
        }
        Ok(())
    }

    /// Has the registrations say what is wanted, and answers whether the API server knows conditions. Nothing is written that
    /// says so already.
    ///
    /// # Errors
    /// `Invalid` for a registration of that name that is somebody else's, which is left alone; `Conflict` for one that somebody
    /// else changed meanwhile; those of the API server.
    pub(in crate::admission) async fn keep(&self, wanted: &Wanted) -> Result<Conditions> {
        let mut conditions = wanted.conditions;
        for name in NAMES {
            let wanted = Wanted { conditions, ..wanted.clone() };
            let there = self.keep_one(name, webhooks(name, &wanted)).await?;
            if conditions == Conditions::Unknown {
                let kept = there.iter().all(|webhook| webhook.match_conditions.is_some());
                conditions = if kept { Conditions::Kept } else { Conditions::Dropped };
            }
        }
        Ok(conditions)
    }

    /// Answers what is there afterwards.
    async fn keep_one(&self, name: &str, wanted: Vec<ValidatingWebhook>) -> Result<Vec<ValidatingWebhook>> {
        let post = PostParams::default();
        let there = match self.read(name).await? {
            None => {
                let new = registration(name, wanted);
                self.asker
                    .ask(self.api().create(&post, &new))
                    .await
                    .map_err(|error| failed("make", name, error))?
            }
            Some(present) if !is_ours(&present) => {
                return Err(Error::new(ErrorKind::Invalid, "use", format_args!("ValidatingWebhookConfiguration {name}"))
                    .detail(format_args!(
                        "it has no label {MANAGED_BY}={MANAGER}, so somebody else made it: remove it, or give it that label"
                    )));
            }
            Some(present) if present.webhooks.as_ref() == Some(&wanted) => present,
            Some(mut present) => {
                present.webhooks = Some(wanted);
                let changed = self.asker.ask(self.api().replace(name, &post, &present)).await;
                changed.map_err(|error| failed("change", name, error))?
            }
        };
        Ok(there.webhooks.unwrap_or_default())
    }

    /// Whether namespaces have their names as labels.
    pub(in crate::admission) async fn namespaces_named(&self) -> Result<bool> {
        let api: Api<Namespace> = Api::all(self.asker.client.clone());
        let read = self.asker.ask(api.get(config_map::NAMESPACE)).await;
        let read = read.map_err(|error| api_error("read", "namespace kube-system", error))?;
        let name = read.metadata.labels.unwrap_or_default().remove("kubernetes.io/metadata.name");
        Ok(name.as_deref() == Some(config_map::NAMESPACE))
    }

    /// Whether the API server reaches the webhook, by a pool that the webhook refuses, and that would not be made even if it
    /// did not.
    ///
    /// # Errors
    /// In one line, why it does not.
    pub(in crate::admission) async fn is_reached(&self) -> Result<(), String> {
        let api: Api<IpPool> = Api::all(self.asker.client.clone());
        let spec = IpPoolSpec { kind: "local".to_owned(), cidr: "none".to_owned(), ..IpPoolSpec::default() };
        let dry = PostParams { dry_run: true, field_manager: None };
        match self.asker.ask(api.create(&dry, &IpPool::new(PROBE, spec))).await {
            Ok(_) => Err("the API server did not ask the webhook, or had no answer".to_owned()),
            Err(kube::Error::Api(status)) if status.message.contains(PROBED) => Ok(()),
            Err(error) => Err(brief(&error)),
        }
    }
}

fn registration(name: &str, wanted: Vec<ValidatingWebhook>) -> ValidatingWebhookConfiguration {
    let labels = BTreeMap::from([(MANAGED_BY.to_owned(), MANAGER.to_owned())]);
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    ValidatingWebhookConfiguration { metadata, webhooks: Some(wanted) }
}

fn is_ours(present: &ValidatingWebhookConfiguration) -> bool {
    let label = present.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
    label.map(String::as_str) == Some(MANAGER)
}

fn failed(operation: &'static str, name: &str, error: kube::Error) -> Error {
    api_error(operation, format_args!("ValidatingWebhookConfiguration {name}"), error)
}
