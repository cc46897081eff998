//! `hostnic-daemon ipam show`.

use hostnic_kube::ipam::{Numbers, Utilisation};

use super::Asked;
use crate::cli::list::print;
use crate::cli::table::table;

pub(super) async fn run(asked: &Asked) -> Result<(), String> {
    let inventory = asked.tools().await?.inventory().await.map_err(|error| error.chain().to_string())?;
    print(asked.output, &inventory.utilisation(), as_table)
}

fn as_table(shown: &Utilisation) -> String {
    if shown.vxnets.is_empty() {
        return "there are no pools: apply a VxNetPool named v-pool, and see that the controller runs"
            .to_owned();
    }
    let mut rows = Vec::new();
    for vxnet in &shown.vxnets {
        rows.push(row(&vxnet.name, "", vxnet.numbers));
        rows.extend(vxnet.blocks.iter().map(|block| row("", &block.name, block.numbers)));
    }
    let mut parts =
        vec![table(["VXNET", "SUBNET", "CAPACITY", "UNALLOCATED", "ALLOCATE", "RESERVED"], &rows)];
    if let Some(mistake) = &shown.mistake {
        parts.push(format!("ConfigMap hostnic-ipam-config counts for nothing: {mistake}"));
    }
    let mut namespaces: Vec<[String; 2]> =
        shown.namespaces.iter().map(|(name, blocks)| [name.clone(), blocks.join(" ")]).collect();
    if !shown.default.is_empty() {
        namespaces.push(["Default".to_owned(), shown.default.join(" ")]);
    }
    if !namespaces.is_empty() {
        parts.push(table(["NAMESPACE", "SUBNETS"], &namespaces));
    }
    parts.push(match shown.free.as_slice() {
        [] => "no subnet is free".to_owned(),
        free => format!("free subnets: {}", free.join(" ")),
    });
    parts.join("\n\n")
}

fn row(vxnet: &str, subnet: &str, numbers: Numbers) -> [String; 6] {
    let Numbers { capacity, unallocated, allocate, reserved } = numbers;
    let numbers = [capacity, unallocated, allocate, reserved].map(|number| number.to_string());
    let [capacity, unallocated, allocate, reserved] = numbers;
    [vxnet.to_owned(), subnet.to_owned(), capacity, unallocated, allocate, reserved]
}

#[cfg(test)]
mod tests {
    use hostnic_kube::ipam::Part;

    use super::*;

    #[test]
    fn it_is_shown_as_the_go_version_did() {
        let numbers = Numbers { capacity: 256, unallocated: 240, allocate: 1, reserved: 15 };
        let block = Part { name: "4100-172-16-3-0-24".into(), numbers, blocks: vec![] };
        let shown = Utilisation {
            vxnets: vec![Part { name: "vxnet-a".into(), numbers, blocks: vec![block] }],
            namespaces: [("test".to_owned(), vec!["4100-172-16-3-0-24".to_owned()])].into(),
            default: vec!["vxnet-a".into()],
            free: vec![],
            mistake: None,
        };
        let text = as_table(&shown);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "VXNET    SUBNET              CAPACITY  UNALLOCATED  ALLOCATE  RESERVED");
        assert_eq!(lines[2], "         4100-172-16-3-0-24  256       240          1         15");
        assert_eq!(lines[5..7], ["test       4100-172-16-3-0-24", "Default    vxnet-a"]);
        assert_eq!(lines.last(), Some(&"no subnet is free"));
    }
}
