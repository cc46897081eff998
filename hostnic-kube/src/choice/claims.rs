//! What nodes have claimed: the one object that they agree by.

use std::collections::BTreeMap;

use hostnic_core::error::{Error, ErrorKind, Result};
use hostnic_core::id::SubnetId;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use serde::{Deserialize, Serialize};

use crate::client::Asker;
use crate::error::api_error;
use crate::facts::KUBE_SYSTEM;

const NAME: &str = "hostnic-vxnets";
const OBJECT: &str = "Lease kube-system/hostnic-vxnets";
/// On the Lease: the claims, as JSON.
const CLAIMS: &str = "hostnic.network.kubesphere.io/claims";

/// What one node has claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// The uid of the node's object: another node may come to have the name.
    pub(super) uid: String,
    /// What it has, or since when it waits.
    #[serde(flatten)]
    pub(super) what: Claimed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Claimed {
    /// This subnet is its, and becomes its annotation.
    Subnet(SubnetId),
    /// There was none. It said so last at this time, in seconds since 1970.
    Waits(u64),
}

/// The claims by the names of their nodes.
pub(super) type Claims = BTreeMap<String, Claim>;

/// The claims as they were read, and what is needed to write them only if nobody else did since.
#[derive(Debug)]
pub(super) struct Ledger {
    lease: Option<Lease>,
    pub(super) claims: Claims,
}

fn leases(asker: &Asker) -> Api<Lease> {
    Api::namespaced(asker.client.clone(), KUBE_SYSTEM)
}

impl Ledger {
    pub(super) async fn read(asker: &Asker) -> Result<Self> {
        let lease = asker.ask(leases(asker).get_opt(NAME)).await.map_err(|e| api_error("read", OBJECT, e))?;
        let text = lease.as_ref().and_then(|lease| lease.metadata.annotations.as_ref()?.get(CLAIMS));
        let claims = match text.map(|text| serde_json::from_str(text)) {
            None => Claims::default(),
            Some(Ok(claims)) => claims,
            Some(Err(source)) => {
                return Err(Error::new(ErrorKind::Damaged, "read", OBJECT)
                    .detail(
                        "its claims cannot be read; delete it when no node is choosing, and it is made anew",
                    )
                    .source(source));
            }
        };
        Ok(Self { lease, claims })
    }

    /// Writes these claims; `Conflict` where another node wrote in between.
    pub(super) async fn write(self, asker: &Asker, claims: &Claims) -> Result<()> {
        let text = serde_json::to_string(claims)
            .map_err(|e| Error::new(ErrorKind::Internal, "write", OBJECT).source(e))?;
        let there = self.lease.is_some();
        let mut lease = self.lease.unwrap_or_default();
        lease.metadata.name = Some(NAME.to_owned());
        lease.metadata.annotations.get_or_insert_default().insert(CLAIMS.to_owned(), text);
        let (leases, post) = (leases(asker), PostParams::default());
        let answer = if there {
            asker.ask(leases.replace(NAME, &post, &lease)).await
        } else {
            asker.ask(leases.create(&post, &lease)).await
        };
        answer.map(drop).map_err(|e| api_error("write", OBJECT, e))
    }
}
