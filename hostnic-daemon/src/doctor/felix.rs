//! Calico's Felix, where it uses bits of packets' marks that are hostnic's.
//!
//! Which it uses is told by its own rules: its settings may be in its environment, in a file or in the cluster, where a node need not
//! be allowed to look.

use hostnic_netlink::nft::MarkWriter;

use super::Finding;

/// What is in the names of all chains of Felix's, whether it makes them as iptables or as nftables.
const CHAINS: &str = "cali-";
/// The bits that Felix takes unless told.
const USUAL: u32 = 0xffff_0000;

/// What is wrong where hostnic's marks have the bits `ours`.
pub fn felix_findings(ours: u32, writers: &[MarkWriter]) -> Vec<Finding> {
    let its_own = writers.iter().filter(|writer| writer.chain().contains(CHAINS));
    let taken = |writer: &&MarkWriter| writer.bits & ours != 0;
    // One chain is enough to see it: there may be one of each pod.
    let Some(writer) = its_own.clone().find(taken) else { return Vec::new() };
    let all = its_own.fold(0, |bits, writer| bits | writer.bits);
    vec![Finding::error(
        format_args!("nftables chain {writer}"),
        format_args!(
            "is Calico's and writes bits {:#x} of packets' marks, which are hostnic's: answers of services and node ports go astray",
            all & ours
        ),
        format_args!(
            "set FELIX_IPTABLESMARKMASK={:#x} in DaemonSet calico-node, as deploy/calico-policy does, or iptablesMarkMask in \
             FelixConfiguration default",
            USUAL & !ours
        ),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_felix_that_writes_our_bits_is_a_finding() {
        let ours = 0x3_0000;
        let chain = |chain: &str, bits| MarkWriter::new("mangle", chain, bits);
        let others =
            [chain("KUBE-MARK-MASQ", 0x4000), chain("somebody", u32::MAX), chain("cali-x", 0x1c_0000)];
        assert_eq!(felix_findings(ours, &others), []);
        let usual = [chain("cali-PREROUTING", 0x1_0000), chain("filter-cali-FORWARD", 0xe_0000)];
        let found = felix_findings(ours, &usual);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].object, "nftables chain ip mangle cali-PREROUTING");
        assert!(found[0].problem.contains("0x30000"), "{found:?}");
        assert!(found[0].remedy.contains("FELIX_IPTABLESMARKMASK=0xfffc0000"), "{found:?}");
    }
}
