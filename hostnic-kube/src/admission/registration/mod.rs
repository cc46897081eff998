//! How the webhooks are made known to the API servers.

mod keep;

use std::net::IpAddr;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, ServiceReference, ValidatingWebhook, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::account::Accounts;
use super::answer::GROUP;
use super::rules::config_map;
use super::server::{CONFIG_MAPS, RESOURCES};
use super::{Endpoint, PROBE};

pub(super) use keep::Registrar;

/// How long an API server waits for an answer, in seconds.
const POOLS_WAIT: i32 = 3;
const CONFIG_MAP_WAIT: i32 = 2;
/// Pods may be waiting for the change.
const BLOCKS_WAIT: i32 = 1;

/// What an API server does with a change when the webhook does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Refuses it.
    Fail,
    /// Lets it be.
    Ignore,
}

/// Whether the API servers know conditions, by which a change is not even asked about. Those before 1.27 drop them silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conditions {
    /// Nobody tried yet.
    Unknown,
    Kept,
    Dropped,
}

/// What the registrations are to say.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) endpoint: Endpoint,
    pub(super) accounts: Accounts,
    /// All authorities, in PEM.
    pub(super) bundle: String,
    pub(super) policy: Policy,
    pub(super) conditions: Conditions,
    /// Whether namespaces have their names as labels, as they do from 1.21 on.
    pub(super) namespaces_named: bool,
}

/// The two registrations, by name.
pub(super) const NAMES: [&str; 2] = ["hostnic-resources", "hostnic-configmaps"];

/// What the registration of this name is to say; nothing for any other name.
///
/// Pools are written by persons and the controller alone, so where the webhook must answer, a person waits until it does.
/// Blocks and handles are also written by nodes while a pod waits for its address, and no pod may wait for the controller: the
/// webhook must answer for them only where conditions keep nodes' changes from it.
pub(super) fn webhooks(name: &str, wanted: &Wanted) -> Vec<ValidatingWebhook> {
    match name {
        "hostnic-resources" => vec![pools(wanted), blocks(wanted)],
        "hostnic-configmaps" => vec![config_maps(wanted)],
        _ => Vec::new(),
    }
}

fn pools(wanted: &Wanted) -> ValidatingWebhook {
    // The controller's own question whether the webhook is reached must reach it.
    let own = wanted.accounts.own.as_str();
    let others = format!("request.userInfo.username != '{own}' || request.name == '{PROBE}'");
    webhook(
        wanted,
        "pools",
        RESOURCES,
        Rule {
            group: GROUP,
            version: "v1alpha1",
            resources: &["ippools", "vxnetpools"],
            operations: &["CREATE", "UPDATE", "DELETE"],
            scope: "Cluster",
            policy: wanted.policy,
            seconds: POOLS_WAIT,
            condition: ("not-the-controller", others),
            namespaces: LabelSelector::default(),
        },
    )
}

fn blocks(wanted: &Wanted) -> ValidatingWebhook {
    let trusted: Vec<String> = wanted.accounts.trusted().map(|name| format!("'{name}'")).collect();
    let others = format!("!(request.userInfo.username in [{}])", trusted.join(", "));
    webhook(
        wanted,
        "blocks",
        RESOURCES,
        Rule {
            group: GROUP,
            version: "v1alpha1",
            resources: &["ipamblocks", "ipamhandles"],
            operations: &["CREATE", "UPDATE", "DELETE"],
            scope: "Cluster",
            policy: if wanted.conditions == Conditions::Kept { wanted.policy } else { Policy::Ignore },
            seconds: BLOCKS_WAIT,
            condition: ("not-a-program-of-hostnic", others),
            namespaces: LabelSelector::default(),
        },
    )
}

/// Before conditions, all ConfigMaps of a namespace must be asked about, and before namespaces had their names as labels,
/// all that there are: a label of our own on `kube-system` would be a right to change that namespace, and one on the ConfigMap
/// would be missing when somebody makes it anew.
fn config_maps(wanted: &Wanted) -> ValidatingWebhook {
    let (namespace, name) = (config_map::NAMESPACE, config_map::NAME);
    let namespaces = if wanted.namespaces_named {
        let labels = [("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())];
        LabelSelector { match_labels: Some(labels.into()), ..LabelSelector::default() }
    } else {
        LabelSelector::default()
    };
    let ours = format!("request.namespace == '{namespace}' && request.name == '{name}'");
    webhook(
        wanted,
        "ipam-config",
        CONFIG_MAPS,
        Rule {
            group: "",
            version: "v1",
            resources: &["configmaps"],
            operations: &["CREATE", "UPDATE"],
            scope: "Namespaced",
            policy: Policy::Ignore,
            seconds: CONFIG_MAP_WAIT,
            condition: ("the-mapping-of-blocks", ours),
            namespaces,
        },
    )
}

struct Rule<'a> {
    group: &'a str,
    version: &'a str,
    resources: &'a [&'a str],
    operations: &'a [&'a str],
    scope: &'a str,
    policy: Policy,
    seconds: i32,
    condition: (&'a str, String),
    namespaces: LabelSelector,
}

/// All is spelt out that the API server would fill in, so that what it has can be compared with what it should have.
fn webhook(wanted: &Wanted, name: &str, path: &str, rule: Rule<'_>) -> ValidatingWebhook {
    let all = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
    let (condition, expression) = rule.condition;
    let conditions = vec![MatchCondition { name: condition.to_owned(), expression }];
    let policy = match rule.policy {
        Policy::Fail => "Fail",
        Policy::Ignore => "Ignore",
    };
    ValidatingWebhook {
        name: format!("{name}.admission.{GROUP}"),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client(&wanted.endpoint, path, &wanted.bundle),
        failure_policy: Some(policy.to_owned()),
        match_conditions: (wanted.conditions != Conditions::Dropped).then_some(conditions),
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(rule.namespaces),
        object_selector: Some(LabelSelector::default()),
        rules: Some(vec![RuleWithOperations {
            api_groups: all(&[rule.group]),
            api_versions: all(&[rule.version]),
            operations: all(rule.operations),
            resources: all(rule.resources),
            scope: Some(rule.scope.to_owned()),
        }]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(rule.seconds),
    }
}

fn client(endpoint: &Endpoint, path: &str, bundle: &str) -> WebhookClientConfig {
    let mut config = WebhookClientConfig {
        ca_bundle: Some(ByteString(bundle.as_bytes().to_vec())),
        ..WebhookClientConfig::default()
    };
    match endpoint {
        Endpoint::Service { namespace, name, port } => {
            config.service = Some(ServiceReference {
                name: name.clone(),
                namespace: namespace.clone(),
                path: Some(path.to_owned()),
                port: Some(i32::from(*port)),
            });
        }
        Endpoint::Address { host, port } => {
            let host = match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(address)) => format!("[{address}]"),
                _ => host.clone(),
            };
            config.url = Some(format!("https://{host}:{port}{path}"));
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::AccountName;

    fn wanted(policy: Policy, conditions: Conditions) -> Wanted {
        let account = |name: &str| AccountName::new(name).unwrap();
        Wanted {
            endpoint: Endpoint::Service {
                namespace: "kube-system".into(),
                name: "hostnic-controller".into(),
                port: 443,
            },
            accounts: Accounts { own: account("own"), nodes: vec![account("node")] },
            bundle: "PEM".into(),
            policy,
            conditions,
            namespaces_named: true,
        }
    }

    fn policies(wanted: &Wanted) -> Vec<String> {
        let all = NAMES.iter().flat_map(|name| webhooks(name, wanted));
        all.filter_map(|webhook| webhook.failure_policy).collect()
    }

    #[test]
    fn pods_never_wait_for_the_controller() {
        let all = |policy, conditions| policies(&wanted(policy, conditions));
        assert_eq!(all(Policy::Fail, Conditions::Kept), ["Fail", "Fail", "Ignore"]);
        for conditions in [Conditions::Dropped, Conditions::Unknown] {
            assert_eq!(all(Policy::Fail, conditions), ["Fail", "Ignore", "Ignore"]);
        }
        assert_eq!(all(Policy::Ignore, Conditions::Kept), ["Ignore"; 3]);
    }

    #[test]
    fn where_conditions_are_known_programs_are_not_even_asked_about() {
        let expressions = |conditions| {
            let all = NAMES.map(|name| webhooks(name, &wanted(Policy::Fail, conditions)));
            let all = all.into_iter().flatten().filter_map(|webhook| webhook.match_conditions);
            all.flatten().map(|condition| condition.expression).collect::<Vec<_>>()
        };
        let told = expressions(Conditions::Kept);
        assert_eq!(
            told[0],
            "request.userInfo.username != 'own' || request.name == 'hostnic-admission-probe'"
        );
        assert!(
            told[1].starts_with("!(request.userInfo.username in ['own', 'node', 'system:"),
            "{}",
            told[1]
        );
        assert_eq!(told[2], "request.namespace == 'kube-system' && request.name == 'hostnic-ipam-config'");
        assert_eq!(expressions(Conditions::Dropped), Vec::<String>::new());
    }

    #[test]
    fn the_webhooks_are_found_by_service_or_by_address() {
        let mut wanted = wanted(Policy::Fail, Conditions::Kept);
        let found = |wanted: &Wanted| webhooks(NAMES[1], wanted)[0].client_config.clone();
        let service = found(&wanted).service.unwrap();
        assert_eq!((service.path.as_deref(), service.port), (Some("/validate/configmaps"), Some(443)));
        wanted.endpoint = Endpoint::Address { host: "::1".into(), port: 7 };
        assert_eq!(found(&wanted).url.as_deref(), Some("https://[::1]:7/validate/configmaps"));
    }
}
