//! Refuses changes of the custom resources and of the mapping of blocks that would do harm, before they are made: two admission
//! webhooks, which make and renew their own certificate.
//!
//! Each replica of the controller runs an [`Admission`]. All of them answer the API servers; the one that leads has them know of
//! the webhooks:
//!
//! 1. [`Admission::new`], and [`Admission::run`] as a task of its own, with [`Standing::Follower`].
//! 2. Whoever becomes the leader calls [`Admission::relax`] until it succeeds, before it writes anything else: the leader before it
//!    may have died while changes were refused that no webhook answers for.
//! 3. It then tells `run` that it is [`Standing::Leader`], and [`Standing::Ready`] when it is; and takes that back when it is not.
//! 4. Whoever ceases to be the leader says [`Standing::Follower`], and calls [`Admission::relax`] while nobody else can lead.
//!
//! # When a webhook does not answer
//!
//! | changes of | by | no leader is ready | the leader is ready, API server from 1.27 on | the leader is ready, before 1.27 |
//! |---|---|---|---|---|
//! | IPPools, VxNetPools | the controller | are made | are made, and never asked about | are made after a new leader's `relax` |
//! | | others | are made | are refused | are refused |
//! | IPAMBlocks, IPAMHandles | the controller, nodes, Kubernetes | are made | are made, and never asked about | are made, after 1 s |
//! | | others | are made | are refused | are made, after 1 s |
//! | `hostnic-ipam-config` | all | are made, after 2 s | the same | the same |
//!
//! So no pod ever waits for the controller for longer than that. That changes are refused is only asked for once an API server has
//! been seen to reach the webhook, and is taken back when the next comparison finds that it does not any more: a controller that
//! could not be reached would otherwise shut itself out where the API server is older. Of several API servers, one is looked at.
//!
//! # What it may do in the cluster
//!
//! Cluster-wide, for the controller's service account:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | `admissionregistration.k8s.io` | `validatingwebhookconfigurations` | create | the registrations |
//! | `admissionregistration.k8s.io` | `validatingwebhookconfigurations`, only `hostnic-resources` and `hostnic-configmaps` | get, update | the registrations |
//! | `network.qingcloud.com` | `ippools` | list, create | which addresses other pools have; whether the webhook is reached (nothing is made) |
//! | `network.qingcloud.com` | `ipamblocks` | list | which blocks there are |
//! | (core) | `namespaces`, only `kube-system` | get | whether it has its name as a label |
//!
//! In the namespace `kube-system`, or in another if it runs there:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | (core) | `secrets` | create | the certificate |
//! | (core) | `secrets`, only `hostnic-admission` | get, update | the certificate |

mod account;
mod answer;
mod certificate;
mod registration;
mod review;
mod rules;
mod run;
mod server;
mod settings;

pub use account::{AccountName, Accounts};
pub use run::{Admission, AdmissionState, Standing};
pub use settings::{AdmissionSettings, Clock, Endpoint};

/// What marks objects that are ours.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const MANAGER: &str = "hostnic-controller";

/// The pool that the controller asks about to see whether the webhook is reached, and how it is refused.
const PROBE: &str = "hostnic-admission-probe";
const PROBED: &str = "the webhook of hostnic is reached";
