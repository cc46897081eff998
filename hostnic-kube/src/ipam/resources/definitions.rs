//! What tells the API server about the resources.

use kube::CustomResourceExt;
use serde_json::Value;

use super::ip_pool::IpPool;
use super::ipam_block::IpamBlock;
use super::ipam_handle::IpamHandle;
use super::vxnet_pool::VxNetPool;

/// The definitions of all custom resources, to be applied before the controller is started: those of
/// `deploy/kubernetes/crds.yaml`.
///
/// # Errors
/// None that a change of the cluster could bring about: they are made of types.
pub fn definitions() -> serde_json::Result<Vec<Value>> {
    let crds = [VxNetPool::crd(), IpPool::crd(), IpamBlock::crd(), IpamHandle::crd()];
    let plain = |crd| {
        let mut value = serde_json::to_value(crd)?;
        drop_formats(&mut value);
        Ok(value)
    };
    crds.into_iter().map(plain).collect()
}

/// Kubernetes knows no unsigned numbers and warns of their formats; their minimum says the same.
fn drop_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            fields.values_mut().for_each(drop_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_formats),
        _ => {}
    }
}
