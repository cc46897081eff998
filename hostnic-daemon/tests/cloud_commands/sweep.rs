//! `hostnic-daemon nic sweep` lists and deletes what instances that are gone have left, and nothing else.

use std::collections::BTreeSet;

use hostnic_core::cloud::Nic;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::place::{NODE, OTHER, Place, config};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("nics_of_an_instance_that_is_gone_are_listed_and_deleted_and_no_others", sweeps)]
}

fn ids(nics: &[Nic]) -> BTreeSet<String> {
    nics.iter().map(|nic| nic.id.to_string()).collect()
}

async fn listed(place: &Place, more: &[&str]) -> BTreeSet<String> {
    let output = place.run(&[&["nic", "sweep", "-o", "json"], more].concat()).await;
    assert!(output.status.success(), "{output:?}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for row in &rows {
        assert_eq!((&row["subnet"], &row["instance"]), (&"vxnet-b".into(), &OTHER.into()));
        assert_eq!(row["addresses"].as_array().unwrap().len(), 1);
    }
    rows.iter().map(|row| row["nic"].as_str().unwrap().to_owned()).collect()
}

async fn table(place: &Place, more: &[&str]) -> (String, String) {
    let output = place.run(&[&["nic", "sweep"], more].concat()).await;
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

async fn sweeps() {
    let place = Place::new(config()).await;
    let left = place.nics(OTHER, 1, 3).await;
    let living = place.nics(NODE, 2, 2).await;
    let all = || place.simulator.cloud().snapshot().keys().map(ToString::to_string).collect::<BTreeSet<_>>();
    let (told, _) = table(&place, &["--delete"]).await;
    assert_eq!(told, "no NIC of ours has outlived its instance\n", "both instances live");
    place.simulator.cloud().terminate(&OTHER.parse().unwrap());
    let before = all();
    assert_eq!(listed(&place, &[]).await, ids(&left));
    let (told, _) = table(&place, &[]).await;
    assert!(told.starts_with("NIC ") && ids(&left).iter().all(|id| told.contains(id)), "{told}");
    assert_eq!(all(), before, "a list deletes nothing");

    let (_, said) = table(&place, &["--delete"]).await;
    assert!(said.starts_with("deleted ") && ids(&left).iter().all(|id| said.contains(id)), "{said}");
    assert_eq!(all(), before.difference(&ids(&left)).cloned().collect());
    assert!(ids(&living).is_subset(&all()));
    assert_eq!(listed(&place, &["--delete"]).await, BTreeSet::new());
}
