//! Chains that drop what this machine forwards.

use hostnic_netlink::nft::ForwardDrop;

use super::Finding;

/// What is wrong about them. Whether a rule lets pods' packets through all the same cannot be told from here.
pub fn firewall_findings(drops: &[ForwardDrop]) -> Vec<Finding> {
    let finding = |chain: &ForwardDrop| {
        Finding::warning(
            format_args!("nftables chain {chain}"),
            "has the policy drop, as Docker sets it: what pods send to services by this machine is lost where no rule lets it \
             through",
            "iptables -P FORWARD ACCEPT, or let the pods' subnets through; keep it where the firewall is set up",
        )
    };
    drops.iter().map(finding).collect()
}
