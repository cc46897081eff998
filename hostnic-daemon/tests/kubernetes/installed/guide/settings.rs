//! The keys of `hostnic-cfg-cm` that the guide tells of.

use crate::installation::{Installation, SETTINGS};
use crate::stage::Stage;
use crate::table::Table;

/// What the guide's reader edits, and hairpin for its check.
pub(super) const EDITS: [(&str, &str); 3] =
    [SETTINGS[0], SETTINGS[1], (r#""hairpin": false"#, r#""hairpin": true"#)];

/// Each key as the daemon has it.
pub(super) fn are_in_force(stage: &Stage, installation: &Installation, table: &mut Table) {
    let node = &stage.world.nodes[0];
    let status = installation.exec(node, "hostnic-daemon status").unwrap();
    let config = installation
        .exec(node, "hostnic-daemon config --compat=hostnic-node")
        .unwrap_or_else(|said| panic!("{said}"));
    for (key, shown, happens) in [
        ("poolHigh", "to 5 free", "5 as it comes; `hostnic-daemon status` says `3 to 5 free`"),
        ("poolLow", "3 to", "3 as it comes; `hostnic-daemon status` says `3 to 5 free`"),
        ("maxNic", "at most 63 NICs", "63 as it comes; `hostnic-daemon status` says `at most 63 NICs`"),
    ] {
        assert!(status.contains(shown), "{key}: {status}");
        table.row(format!("`hostnic`: `{key}`"), happens);
    }
    let shows = |key: &str, value: &str| {
        let line = config.lines().find(|line| line.split_whitespace().next() == Some(key));
        assert!(line.is_some_and(|line| line.contains(value)), "{key} is not {value}:\n{config}");
    };
    shows("nic-tag", "(none)");
    table.row("`hostnic`: `tag`", "is given to NICs that are made; none unless told");
    let chosen = stage.world.cluster.get(&["node", node.name()]);
    let chosen = &chosen["metadata"]["annotations"]["hostnic.network.kubesphere.io/vxnet"];
    assert!(chosen == "vxnet-aaaaaaa" || chosen == "vxnet-bbbbbbb", "{chosen}");
    table.row(
        "`hostnic`: `vxNets`",
        "one of them is chosen for each node: 252 / `maxNic` nodes have room in each",
    );
    shows("job-poll", "1");
    table.row("`hostnic`: `sync`", "how often the cloud's jobs are looked at, 3 s unless told");
    shows("veth-prefix", "vnic");
    table.row(
        "`hostnic-cni`: `vethPrefix`",
        "names of pods' links on the node begin with it, `vnic` unless told",
    );
    shows("mtu", "(1500, or the NIC's where that is smaller)");
    table
        .row("`hostnic-cni`: `mtu`", "of pods' links; 1500, or the NIC's where that is smaller, unless told");
    shows("service-cidr", "10.233.0.0/18");
    table.row("`hostnic-cni`: `serviceCIDR`", "as the guide says; has to be there");
    shows("hairpin", "true");
    table.row("`hostnic-cni`: `hairpin`", "as the guide's check below shows; no node has to be restarted");
}
