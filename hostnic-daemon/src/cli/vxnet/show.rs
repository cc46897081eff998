//! `hostnic-daemon vxnet show`.

use std::time::Duration;

use crate::cli::Ask;
use crate::cli::ask::{ask, told};
use crate::cli::list::print;
use crate::cli::table::table;
use crate::view::Vxnet;

pub(super) fn run(asked: &Ask) -> Result<(), String> {
    let status = ask(&asked.socket, async |client| client.status().await).map_err(|error| told(&error))?;
    let vxnets: Vec<Vxnet> = status.state.shared_nics.into_iter().map(Vxnet::from).collect();
    print(asked.output, &vxnets, |vxnets| as_table(vxnets))
}

fn as_table(vxnets: &[Vxnet]) -> String {
    if vxnets.is_empty() {
        return "this node has no NIC that pods share".to_owned();
    }
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |vxnet: &Vxnet| {
        let free = vxnet.free_s.map(|s| humantime::format_duration(Duration::from_secs(s)).to_string());
        [
            vxnet.vxnet.clone(),
            or_none(vxnet.nic.clone()),
            or_none(vxnet.table.map(|table| table.to_string())),
            vxnet.state.to_owned(),
            vxnet.pods.to_string(),
            or_none(free),
            vxnet.trouble.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = vxnets.iter().map(row).collect();
    table(["VXNET", "NIC", "TABLE", "STATE", "PODS", "FREE FOR", "TROUBLE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vxnet(name: &str, pods: u32, free_s: Option<u64>) -> Vxnet {
        let (nic, mac) = (Some("52:54:00:00:00:01".to_owned()), Some("52:54:00:00:00:01".to_owned()));
        Vxnet {
            vxnet: name.to_owned(),
            nic,
            mac,
            table: Some(260),
            state: "ready",
            pods,
            free_s,
            trouble: None,
        }
    }

    #[test]
    fn each_vxnet_has_a_line() {
        let coming = Vxnet { nic: None, table: None, state: "creating", ..vxnet("vxnet-c", 0, None) };
        let text = as_table(&[vxnet("vxnet-a", 12, None), vxnet("vxnet-b", 0, Some(3725)), coming]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1][..6], ["vxnet-a", "52:54:00:00:00:01", "260", "ready", "12", "-"]);
        assert_eq!(lines[2][4..], ["0", "1h", "2m", "5s"]);
        assert_eq!(lines[3], ["vxnet-c", "-", "-", "creating", "0", "-"]);
        assert_eq!(as_table(&[]), "this node has no NIC that pods share");
    }
}
