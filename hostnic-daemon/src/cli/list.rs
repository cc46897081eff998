//! What a person asks a running daemon.

use hostnic_cni::contract::CallError;
use serde::Serialize;

use super::ask::{AskError, ask, told};
use super::table::table;
use super::{Ask, Output};
use crate::view::{Address, Nic, Pod};

#[derive(Serialize)]
struct Versions {
    program: &'static str,
    daemon: Option<String>,
}

#[expect(clippy::print_stdout, reason = "what a person asked for goes to standard output")]
pub(super) fn print<T: Serialize>(
    output: Output,
    values: &T,
    as_table: impl FnOnce(&T) -> String,
) -> Result<(), String> {
    match output {
        Output::Table => println!("{}", as_table(values)),
        Output::Json => println!("{}", serde_json::to_string_pretty(values).map_err(|e| e.to_string())?),
    }
    Ok(())
}

pub(super) fn nics(asked: &Ask) -> Result<(), String> {
    let nics = ask(&asked.socket, async |client| client.nics().await).map_err(|e| told(&e))?;
    let nics: Vec<Nic> = nics.into_iter().map(Nic::from).collect();
    print(asked.output, &nics, |nics| {
        let rows = nics.iter().flat_map(nic_rows);
        table(["NIC", "SUBNET", "STATE", "ADDRESS", "HELD BY", "NOTE"], &rows.collect::<Vec<_>>())
    })
}

fn nic_rows(nic: &Nic) -> Vec<[String; 6]> {
    let row = |address: Option<&Address>| {
        [
            nic.id.clone(),
            nic.subnet.clone(),
            // A NIC that is ready is as useful as its address is free.
            address.filter(|_| nic.state == "ready").map_or(nic.state, |a| a.state).to_owned(),
            address.map_or_else(|| "-".to_owned(), |a| a.address.clone()),
            address.and_then(|a| a.holder.clone()).unwrap_or_else(|| "-".to_owned()),
            nic.note.clone(),
        ]
    };
    if nic.addresses.is_empty() {
        vec![row(None)]
    } else {
        nic.addresses.iter().map(|a| row(Some(a))).collect()
    }
}

pub(super) fn pods(asked: &Ask) -> Result<(), String> {
    let pods = ask(&asked.socket, async |client| client.pods().await).map_err(|e| told(&e))?;
    let pods: Vec<Pod> = pods.into_iter().map(Pod::from).collect();
    print(asked.output, &pods, |pods| {
        let row = |p: &Pod| {
            let name = p.pod.clone().unwrap_or_else(|| "-".to_owned());
            [
                p.attachment.clone(),
                name,
                p.address.clone(),
                p.nic.clone(),
                p.subnet.clone(),
                p.way.clone(),
                p.state.to_owned(),
                p.netns.clone(),
            ]
        };
        let rows: Vec<_> = pods.iter().map(row).collect();
        table(["ATTACHMENT", "POD", "ADDRESS", "NIC", "SUBNET", "WAY", "STATE", "NAMESPACE"], &rows)
    })
}

pub(super) fn version(asked: &Ask) -> Result<(), String> {
    let daemon = match ask(&asked.socket, async |client| client.version().await) {
        Ok(version) => Some(version),
        // That none runs is an answer.
        Err(AskError::Call(CallError::Unreachable { .. })) => None,
        Err(error) => return Err(told(&error)),
    };
    let versions = Versions { program: env!("CARGO_PKG_VERSION"), daemon };
    print(asked.output, &versions, |v| {
        let daemon = v.daemon.as_deref().unwrap_or("not running");
        format!("program  {}\ndaemon   {daemon}", v.program)
    })
}
